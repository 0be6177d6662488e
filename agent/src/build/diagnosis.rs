//! From BuildKit's words to an error that a person can act on: which line of the Dockerfile, and
//! whether it was the base image, the architecture or the memory limit.

use domain::image::ImageReference;

use super::{
    buildkit::{self, FailedStep},
    error::Error,
    lookup::{self, Role, Standing},
};

/// Said by the kernel's exec.
const CANT_RUN: &[&str] = &["exec format error"];
/// Said by BuildKit's choice among the variants of an image.
const NO_VARIANT: &[&str] = &["no match for platform"];
/// Said at the very end when the engine itself stops in the middle: a build that the agent gives up says nothing
/// any more.
const ENGINE_STOPPED: &[&str] = &[
    "context canceled",
    "transport is closing",
    "error reading from server: EOF",
];
/// Said by the kernel to the engine about its own disk, which all builds of the node share.
const DISK_FAILED: &[&str] = &[
    "no space left on device",
    "read-only file system",
    "input/output error",
];
/// Said of a step whose own program failed; that has said why itself.
const PROGRAM_FAILED: &str = "did not complete successfully";
/// 128 + SIGKILL.
const KILLED: &str = "exit code: 137";

/// What was built.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A Dockerfile with this text.
    Dockerfile(&'a str),
    /// A ready image.
    Image(&'a ImageReference),
}

/// The error for a failed build; `platform` is what the engine builds for, `standing` what the platform's registry
/// says of the image that the step was about.
pub fn of(
    error: buildkit::Error,
    step: Option<&FailedStep>,
    subject: Subject<'_>,
    platform: &str,
    standing: &Standing,
) -> Error {
    let message = match error {
        buildkit::Error::Build { message } | buildkit::Error::Refused { message } => message,
        engine @ buildkit::Error::Engine { .. } => return Error::Engine(engine.to_string()),
    };
    if ENGINE_STOPPED.iter().any(|end| message.ends_with(end)) || is_of_the_disk(&message) {
        return Error::Engine(message);
    }
    if let Some(found) = unfit(&message, step) {
        return Error::WrongArchitecture {
            found: found.to_owned(),
            wanted: platform.to_owned(),
        };
    }
    let looks_up_image = step.is_none_or(is_image_lookup) && !says(&message, &["parse error"]);
    let (role, dockerfile) = match subject {
        Subject::Dockerfile(text) => (Role::Base, text),
        Subject::Image(image) => (Role::Source(image.to_string()), ""),
    };
    if looks_up_image && let Some(error) = lookup::Error::read(role, &message, standing) {
        return error.into();
    }
    Error::DockerfileFailed {
        what: what(&message, step, dockerfile),
    }
}

fn is_of_the_disk(message: &str) -> bool {
    says(message, DISK_FAILED) && !message.contains(PROGRAM_FAILED)
}

/// What does not fit the platform, if that is the reason.
fn unfit(message: &str, step: Option<&FailedStep>) -> Option<&'static str> {
    let output = step.map(|step| step.output.join("\n")).unwrap_or_default();
    if says(message, NO_VARIANT) {
        Some("it has no variant for it")
    } else if says(message, CANT_RUN) || says(&output, CANT_RUN) {
        Some(
            "a program in it can't be run (it is for another architecture, or a script without #!)",
        )
    } else {
        None
    }
}

fn says(text: &str, needles: &[&str]) -> bool {
    let text = text.to_lowercase();
    needles.iter().any(|needle| text.contains(needle))
}

fn is_image_lookup(step: &FailedStep) -> bool {
    step.name.contains("load metadata for") || step.name.contains("] FROM ")
}

fn what(message: &str, step: Option<&FailedStep>, dockerfile: &str) -> String {
    let mut what = String::new();
    if let Some(step) = step {
        let instruction = instruction(&step.name);
        if let Some(line) = line_of(dockerfile, instruction) {
            what.push_str(&format!("line {line}: "));
        }
        what.push_str(&format!("{instruction}: "));
    }
    what.push_str(message);
    if message.contains(KILLED) {
        what.push_str(
            ". It was killed, most likely because it went over the build engine's memory limit",
        );
    }
    for line in step.iter().flat_map(|step| &step.output) {
        what.push_str(&format!("\n    {line}"));
    }
    what
}

/// `[build 2/3] RUN make` without the bracket.
fn instruction(name: &str) -> &str {
    match name
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((_, instruction)) => instruction,
        None => name,
    }
}

/// The line of the Dockerfile where `instruction` begins. BuildKit joins continued lines, so each
/// line's own words (without a trailing backslash) must be the instruction's first words; the line
/// with most of them wins.
fn line_of(dockerfile: &str, instruction: &str) -> Option<usize> {
    let wanted: Vec<&str> = instruction.split_whitespace().collect();
    let begins = |line: &str| {
        let text = line.trim_end();
        let continued = text.ends_with('\\');
        let words: Vec<&str> = text.trim_end_matches('\\').split_whitespace().collect();
        let same = words.iter().zip(&wanted).enumerate().all(|(n, (a, b))| {
            if n == 0 {
                a.eq_ignore_ascii_case(b)
            } else {
                a == b
            }
        });
        let length_fits = if continued {
            words.len() < wanted.len()
        } else {
            words.len() == wanted.len()
        };
        (same && length_fits && words.len() > 1).then_some(words.len())
    };
    dockerfile
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((begins(line)?, index + 1)))
        .max_by_key(|(words, index)| (*words, std::cmp::Reverse(*index)))
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str =
        "FROM base\n# comment\nCOPY . /app\nrun make \\\n    all\nRUN make\nRUN false\n";

    fn diagnose(message: &str, step: Option<(&str, &str)>) -> Error {
        let error = buildkit::Error::Build {
            message: message.to_owned(),
        };
        let step = step.map(|(name, output)| FailedStep {
            name: name.to_owned(),
            output: vec![output.to_owned()],
        });
        of(
            error,
            step.as_ref(),
            Subject::Dockerfile(DOCKERFILE),
            "linux/amd64",
            &Standing::Elsewhere,
        )
    }

    #[test]
    fn the_line_that_failed_is_named_with_what_it_said() {
        assert_eq!(line_of(DOCKERFILE, "RUN make all"), Some(4));
        assert_eq!(line_of(DOCKERFILE, "RUN make"), Some(6));
        assert_eq!(line_of(DOCKERFILE, "RUN other"), None);
        let error = diagnose(
            "executor failed running [/bin/sh -c false]: exit code: 1",
            Some(("[2/3] RUN false", "no such luck")),
        );
        assert_eq!(error.code(), "dockerfile_failed");
        let text = error.to_string();
        assert!(text.contains("line 7: RUN false"), "{text}");
        assert!(text.contains("no such luck"), "{text}");
    }

    #[test]
    fn causes_have_codes() {
        let lookup = Some(("[internal] load metadata for docker.io/library/x:1", ""));
        let run = Some(("[2/3] RUN x", "exec /bin/sh: exec format error"));
        for (message, step, code) in [
            (
                "docker.io/library/x:1: not found",
                lookup,
                "base_image_not_found",
            ),
            (
                "rpc error: code = PermissionDenied desc = no",
                lookup,
                "base_image_refused",
            ),
            (
                "rpc error: code = Unavailable desc = no",
                lookup,
                "base_image_unreachable",
            ),
            ("exit code: 1", run, "wrong_architecture"),
            (
                "dockerfile parse error line 2: not found",
                None,
                "dockerfile_failed",
            ),
            (
                "process \"/bin/sh -c make\" did not complete successfully: context canceled",
                Some(("[2/3] RUN make", "")),
                "build_engine_failed",
            ),
            (
                "failed to copy files: copy file range failed: no space left on device",
                Some(("[2/3] COPY . /app", "")),
                "build_engine_failed",
            ),
            (
                "process \"/bin/sh -c echo No space left on device >&2; false\" did not complete successfully: exit code: 1",
                Some(("[2/3] RUN x", "No space left on device")),
                "dockerfile_failed",
            ),
            (
                "sh: make: not found",
                Some(("[2/3] RUN make", "")),
                "dockerfile_failed",
            ),
        ] {
            assert_eq!(diagnose(message, step).code(), code, "{message}");
        }
    }
}
