//! What a specification can't be. Every fault is named with its field, all at once.

mod edge;
mod network;

use super::{
    BuildSpec, DeploySpec, GitSource, Probe, Resources, ScaleSpec, ServiceSpec, Source,
    source::{check_repo, is_git_ref, is_inner_path},
};
use crate::{
    image::ImageReference,
    quantity::{Bytes, MilliCpu, Span},
};

pub use edge::check_rules;
pub(super) use edge::is_header_name;

/// Most replicas of one service in one region.
pub const REPLICAS_MAX: u32 = 100;

/// Bytes of a probe's path.
const PROBE_PATH_MAX: usize = 1024;

/// One thing in a specification that can't be, where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidSpec {
    /// The path of the field, such as `deploy.readiness.path`.
    pub field: String,
    /// What is wrong and what would do.
    pub reason: String,
}

#[derive(Default)]
struct Faults(Vec<InvalidSpec>);

impl Faults {
    fn add(&mut self, field: &str, reason: impl Into<String>) {
        self.0.push(InvalidSpec {
            field: field.to_owned(),
            reason: reason.into(),
        });
    }

    fn unless(&mut self, holds: bool, field: &str, reason: &str) {
        if !holds {
            self.add(field, reason);
        }
    }
}

pub(super) fn faults(spec: &ServiceSpec) -> Vec<InvalidSpec> {
    let mut faults = Faults::default();
    match &spec.source {
        Some(Source::Git(git)) => check_git(git, &mut faults),
        Some(Source::Image(image)) => {
            if let Err(error) = image.image.parse::<ImageReference>() {
                faults.add("source.image", error.to_string());
            }
        }
        None => {}
    }
    check_build(&spec.build, &mut faults);
    check_deploy(&spec.deploy, &mut faults);
    check_scale(&spec.scale, &mut faults);
    network::check(&spec.network, &mut faults);
    edge::check(&spec.edge.rules, &mut faults);
    faults.0
}

fn check_git(git: &GitSource, faults: &mut Faults) {
    if let Err(reason) = check_repo(&git.repo) {
        faults.add("source.repo", reason);
    }
    faults.unless(
        git.branch.as_deref().is_none_or(is_git_ref),
        "source.branch",
        "not a name that git allows for a branch or tag",
    );
    faults.unless(
        is_inner_path(&git.root),
        "source.root",
        "must be a folder within the repository, without \"..\"",
    );
}

fn check_build(build: &BuildSpec, faults: &mut Faults) {
    faults.unless(
        is_inner_path(&build.dockerfile_path),
        "build.dockerfile_path",
        "must be a file within the source, without \"..\"",
    );
    let has_nul = |(name, value): (&String, &String)| name.contains('\0') || value.contains('\0');
    faults.unless(
        !build.args.iter().any(has_nul),
        "build.args",
        "must not contain NUL",
    );
    let timeout = Span::seconds(10)..=Span::seconds(4 * 3600);
    faults.unless(
        timeout.contains(&build.timeout),
        "build.timeout",
        "must be between 10s and 4h",
    );
}

fn check_deploy(deploy: &DeploySpec, faults: &mut Faults) {
    for (field, command) in [
        ("deploy.start_command", &deploy.start_command),
        ("deploy.pre_deploy_command", &deploy.pre_deploy_command),
    ] {
        faults.unless(
            command.as_deref().is_none_or(is_command),
            field,
            "must name a program, as a list of arguments",
        );
    }
    for (field, probe) in [
        ("deploy.startup", Some(&deploy.startup)),
        ("deploy.readiness", Some(&deploy.readiness)),
        ("deploy.liveness", deploy.liveness.as_ref()),
    ] {
        if let Some(Err(reason)) = probe.map(check_probe) {
            faults.add(field, reason);
        }
    }
    let hour = Span::seconds(3600);
    faults.unless(
        deploy.draining <= hour,
        "deploy.draining",
        "must be at most 1h",
    );
    faults.unless(
        (Span::seconds(10)..=hour).contains(&deploy.progress_deadline),
        "deploy.progress_deadline",
        "must be between 10s and 1h",
    );
}

fn is_command(arguments: &[String]) -> bool {
    !arguments.is_empty() && !arguments.iter().any(|argument| argument.contains('\0'))
}

/// Whether health can be asked at this path: it becomes part of a request's first line as it is.
#[must_use]
pub fn is_probe_path(path: &str) -> bool {
    let cannot_be = |c: char| c.is_whitespace() || c.is_control();
    path.starts_with('/') && path.len() <= PROBE_PATH_MAX && !path.contains(cannot_be)
}

/// Bytes of the beginning of a path that requests are routed by.
const PATH_PREFIX_MAX: usize = 256;

/// Whether requests can be routed by this beginning of their paths: `/api`, `/api/v2`. It is compared with what clients
/// send byte by byte, so there is one way to write it: no `/` at its end, no empty or dotted part, nothing but visible ASCII.
#[must_use]
pub fn is_path_prefix(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let legal = |b: u8| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b);
    path.len() <= PATH_PREFIX_MAX
        && path.bytes().all(legal)
        && path
            .strip_prefix('/')
            .is_some_and(|parts| parts.split('/').all(is_part))
}

fn check_probe(probe: &Probe) -> Result<(), &'static str> {
    if !probe.path.as_deref().is_none_or(is_probe_path) {
        return Err(
            "the path must begin with \"/\", have at most 1024 bytes and no spaces or control characters",
        );
    }
    let second = Span::seconds(1);
    if probe.interval < second || probe.timeout < second || probe.failures == 0 {
        return Err("interval and timeout must be at least 1s and failures at least 1");
    }
    Ok(())
}

fn check_scale(scale: &ScaleSpec, faults: &mut Faults) {
    faults.unless(
        scale
            .regions
            .values()
            .all(|replicas| *replicas <= REPLICAS_MAX),
        "scale.regions",
        "a region has at most 100 replicas of a service",
    );
    let Resources { cpu, memory, pids } = scale.resources;
    faults.unless(
        cpu >= MilliCpu(10),
        "scale.resources.cpu",
        "must be at least 0.01",
    );
    faults.unless(
        memory >= Bytes::mebibytes(16),
        "scale.resources.memory",
        "must be at least 16Mi",
    );
    faults.unless(
        (16..=32_768).contains(&pids),
        "scale.resources.pids",
        "must be between 16 and 32768",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        let spec: ServiceSpec = serde_json::from_str(text).unwrap();
        let faults = faults(&spec).into_iter();
        faults.map(|fault| fault.field).collect()
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let found = fields(
            r#"{"source":{"repo":"--upload-pack=id","branch":"a..b","root":"../x"},
                "build":{"dockerfile_path":"../Dockerfile","timeout":"5s"},
                "deploy":{"start_command":[],"readiness":{"path":"health"},"draining":"2h","progress_deadline":"1s"},
                "scale":{"regions":{"us-east":101},"resources":{"cpu":0,"memory":"1Mi","pids":1}},"network":{"port":0}}"#,
        );
        let wanted = [
            "source.repo",
            "source.branch",
            "source.root",
            "build.dockerfile_path",
            "build.timeout",
            "deploy.start_command",
            "deploy.readiness",
            "deploy.draining",
            "deploy.progress_deadline",
            "scale.regions",
            "scale.resources.cpu",
            "scale.resources.memory",
            "scale.resources.pids",
            "network.port",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_probes_path_fits_into_a_requests_first_line() {
        let longest = format!("/{}", "x".repeat(PROBE_PATH_MAX - 1));
        for good in ["/", "/health?deep=1", "/größe", &longest] {
            assert!(is_probe_path(good), "{good}");
        }
        let longer = format!("{longest}x");
        for bad in [
            "",
            "health",
            "@elsewhere/",
            "/a b",
            "/\r\nHost: x",
            "/\0",
            &longer,
        ] {
            assert!(!is_probe_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_path_that_requests_are_routed_by_is_written_in_one_way() {
        let longest = format!("/{}", "x".repeat(PATH_PREFIX_MAX - 1));
        for good in [
            "/a",
            "/api/v2",
            "/~user/a.b",
            "/caf%C3%A9",
            "/a:b@c",
            &longest,
        ] {
            assert!(is_path_prefix(good), "{good}");
        }
        let longer = format!("{longest}x");
        for bad in [
            "", "/", "a", "/a/", "//a", "/a//b", "/./a", "/a/..", "/a?b", "/a#b", "/a b", "/ä",
            "/\n", &longer,
        ] {
            assert!(!is_path_prefix(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_image_must_be_named_as_engines_name_them() {
        assert_eq!(
            fields(r#"{"source":{"image":"registry.example.com/acme/api:1.4"}}"#),
            [""; 0]
        );
        assert_eq!(
            fields(r#"{"source":{"image":"-v /:/x"}}"#),
            ["source.image"]
        );
    }
}
