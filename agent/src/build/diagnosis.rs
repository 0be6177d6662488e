//! From BuildKit's words to an error that a person can act on: which line of the Dockerfile, and
//! whether it was the base image, the architecture or the memory limit.

use super::{
    buildkit::{self, FailedStep},
    error::Error,
};

/// The error for a failed build.
pub fn of(error: buildkit::Error, step: Option<&FailedStep>, dockerfile: &str) -> Error {
    let message = match error {
        buildkit::Error::Build { message } => message,
        buildkit::Error::Refused { message } => message,
        engine @ buildkit::Error::Engine { .. } => return Error::Engine(engine.to_string()),
    };
    let text = message.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if has(&["exec format error", "no match for platform"]) {
        return Error::WrongArchitecture {
            found: "another architecture".to_owned(),
            wanted: format!("linux/{}", std::env::consts::ARCH),
        };
    }
    if step.is_none_or(is_image_lookup) {
        if has(&[
            "permissiondenied",
            "insufficient_scope",
            "unauthorized",
            "access denied",
            "forbidden",
        ]) {
            return Error::BaseImageRefused { said: message };
        }
        if has(&[
            "not found",
            "manifest unknown",
            "name unknown",
            "failed to do request",
            "dial tcp",
        ]) && !has(&["dockerfile parse error"])
        {
            return Error::BaseImageNotFound { said: message };
        }
    }
    Error::DockerfileFailed {
        what: what(&message, step, dockerfile),
    }
}

fn is_image_lookup(step: &FailedStep) -> bool {
    step.name.contains("load metadata for") || step.name.contains("] FROM ")
}

fn what(message: &str, step: Option<&FailedStep>, dockerfile: &str) -> String {
    let hint = if message.contains("exit code: 137") {
        ". It was killed, most likely because it went over the build engine's memory limit"
    } else {
        ""
    };
    match step {
        Some(step) => {
            let instruction = instruction(&step.name);
            let line = line_of(dockerfile, instruction)
                .map_or_else(String::new, |line| format!("line {line}: "));
            format!("{line}{instruction}: {message}{hint}")
        }
        None => format!("{message}{hint}"),
    }
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

/// The first line of the Dockerfile that `instruction` begins with. BuildKit joins continued
/// lines, so the line's own text (without a trailing backslash) is compared.
fn line_of(dockerfile: &str, instruction: &str) -> Option<usize> {
    let wanted = words(instruction);
    dockerfile.lines().enumerate().find_map(|(index, line)| {
        let line = words(line.trim_end().trim_end_matches('\\'));
        let matches = !line.is_empty()
            && line.len() <= wanted.len()
            && line
                .iter()
                .zip(&wanted)
                .enumerate()
                .all(|(n, (a, b))| a == b || (n == 0 && a.eq_ignore_ascii_case(b)));
        (matches && (line.len() > 1 || wanted.len() == 1)).then_some(index + 1)
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = "FROM base\n# comment\nCOPY . /app\nrun make \\\n    all\nRUN false\n";

    fn failed(name: &str) -> FailedStep {
        FailedStep {
            name: name.to_owned(),
            error: "exit code: 1".to_owned(),
        }
    }

    fn diagnose(message: &str, step: Option<&FailedStep>) -> Error {
        let error = buildkit::Error::Build {
            message: message.to_owned(),
        };
        of(error, step, DOCKERFILE)
    }

    #[test]
    fn the_line_that_failed_is_named() {
        assert_eq!(line_of(DOCKERFILE, "RUN make all"), Some(4));
        assert_eq!(line_of(DOCKERFILE, "RUN false"), Some(6));
        assert_eq!(line_of(DOCKERFILE, "RUN other"), None);
        let step = failed("[2/3] RUN false");
        let error = diagnose(
            "executor failed running [/bin/sh -c false]: exit code: 1",
            Some(&step),
        );
        assert_eq!(error.code(), "dockerfile_failed");
        assert!(error.to_string().contains("line 6: RUN false"), "{error}");
    }
}
