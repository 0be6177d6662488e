//! What a user asks of a service: the part of `railhead.toml` (BEHAVIOUR §2) under
//! `[services.<name>]`, with the same words. Unknown fields are refused; numbers are checked by
//! [`ServiceSpec::check`], so that one place says what is allowed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    instance::Duplication,
    name::{Name, VariableName},
    quantity::{Bytes, MilliCpu, Span},
};

/// Everything a user asks of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// What kind of program it is.
    #[serde(rename = "type", default)]
    pub kind: ServiceKind,
    /// Where the image comes from. Absent until the first `up` or `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How the image is built.
    #[serde(default)]
    pub build: BuildSpec,
    /// How a version is started and replaced.
    #[serde(default)]
    pub deploy: DeploySpec,
    /// How many, where, how large.
    #[serde(default)]
    pub scale: ScaleSpec,
    /// How traffic reaches it.
    #[serde(default)]
    pub network: NetworkSpec,
}

/// What kind of program a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// Answers HTTP from the internet and the private network.
    #[default]
    Web,
    /// Answers on the private network only.
    Private,
    /// Listens to nothing.
    Worker,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a source: { repo = … } or { image = … }"
)]
pub enum Source {
    /// A git repository.
    Git(GitSource),
    /// A ready image.
    Image(ImageSource),
}

/// A git repository and what to take from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// `https://…`, `ssh://…` or `git@host:path`; `file://…` only below the operator's `build.file_roots`.
    pub repo: String,
    /// The branch or tag to follow; the repository's default branch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The folder that is built, from the repository's top.
    #[serde(default = "root_folder")]
    pub root: String,
}

/// A ready image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// `registry.example.com/acme/api:1.4`, best with a digest.
    pub image: String,
}

fn root_folder() -> String {
    "/".to_owned()
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BuildSpec {
    /// The Dockerfile, from the source's root.
    pub dockerfile_path: String,
    /// Build arguments; they are visible in the image's history.
    pub args: BTreeMap<String, String>,
    /// Variables that are mounted at `/run/secrets/<name>` for `RUN --mount=type=secret` and reach no layer.
    pub secrets: Vec<VariableName>,
    /// Time cap of the whole build.
    pub timeout: Span,
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            dockerfile_path: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            secrets: Vec::new(),
            timeout: Span::seconds(1_800),
        }
    }
}

/// How a version is started, checked and replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeploySpec {
    /// Replaces the image's command; an argument vector, never a shell line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_command: Option<Vec<String>>,
    /// Runs once in a container of the new image before placing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_deploy_command: Option<Vec<String>>,
    /// How the old version makes way.
    pub strategy: Strategy,
    /// Passes once before anything else is asked. Default: every 2 s, at most 300 s.
    pub startup: Probe,
    /// Decides whether traffic comes.
    pub readiness: Probe,
    /// Decides whether the container is restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
    /// A deployment that is not live after this long has failed.
    pub progress_deadline: Span,
    /// Between SIGTERM and SIGKILL.
    pub draining: Span,
    /// The signal that asks to end.
    pub stop_signal: StopSignal,
    /// What the container may do.
    pub confinement: Confinement,
}

impl Default for DeploySpec {
    fn default() -> Self {
        Self {
            start_command: None,
            pre_deploy_command: None,
            strategy: Strategy::Rolling,
            startup: Probe {
                interval: Span::seconds(2),
                timeout: Span::seconds(3),
                failures: 150,
                path: None,
            },
            readiness: Probe {
                interval: Span::seconds(5),
                timeout: Span::seconds(3),
                failures: 3,
                path: None,
            },
            liveness: None,
            progress_deadline: Span::seconds(300),
            draining: Span::seconds(30),
            stop_signal: StopSignal::Sigterm,
            confinement: Confinement::Restricted,
        }
    }
}

/// How the old version makes way for the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// New ones start and are verified while the old ones serve.
    Rolling,
    /// The old ones are gone before new ones start.
    Recreate,
}

/// One kind of health check. HTTP (any 2xx) when there is a path, else TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The HTTP path; TCP connect when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Between two checks.
    #[serde(default = "probe_interval")]
    pub interval: Span,
    /// Of one check.
    #[serde(default = "probe_timeout")]
    pub timeout: Span,
    /// How many in a row count.
    #[serde(default = "probe_failures")]
    pub failures: u32,
}

fn probe_interval() -> Span {
    Span::seconds(5)
}
fn probe_timeout() -> Span {
    Span::seconds(3)
}
fn probe_failures() -> u32 {
    3
}

/// The signal that asks a container to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// 15, the usual one.
    Sigterm,
    /// 2, what Ctrl-C sends.
    Sigint,
    /// 3, "graceful" for some servers.
    Sigquit,
}

impl StopSignal {
    /// As Docker writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sigterm => "SIGTERM",
            Self::Sigint => "SIGINT",
            Self::Sigquit => "SIGQUIT",
        }
    }
}

/// What a container may do (BEHAVIOUR §1, confinement).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Confinement {
    /// No capabilities, not root.
    Restricted,
    /// Docker's default capabilities less `NET_RAW` and `MKNOD`.
    Baseline,
}

/// How many, where, how large.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ScaleSpec {
    /// Replicas per region. Empty: one replica in the platform's first region.
    pub regions: BTreeMap<Name, u32>,
    /// Limits (and reservations) of each replica.
    pub resources: Resources,
}

/// Limits of one replica; the scheduler reserves the same amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// CPU limit.
    pub cpu: MilliCpu,
    /// Memory limit; beyond it the kernel ends the container.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: MilliCpu(250),
            memory: Bytes::mebibytes(256),
            pids: 512,
        }
    }
}

/// How traffic reaches a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// The port the program listens on, given to it as `PORT`.
    pub port: u16,
    /// Plain HTTP is answered by a redirect.
    pub https_redirect: bool,
    /// Of one request.
    pub timeouts: Timeouts,
    /// Largest request body; absent means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Bytes>,
    /// Regions that requests may be answered in; empty means any.
    pub residency: Vec<Name>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            port: 8080,
            https_redirect: true,
            timeouts: Timeouts::default(),
            max_body: None,
            residency: Vec::new(),
        }
    }
}

/// Limits of time on one request at the edge; `0s` means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To connect to an instance.
    pub connect: Span,
    /// Until the first byte of the answer.
    pub first_byte: Span,
    /// Between two bytes.
    pub idle: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(5),
            first_byte: Span::seconds(60),
            idle: Span::seconds(300),
        }
    }
}

/// One thing in a specification that can't be, where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidSpec {
    /// The path of the field, such as `deploy.readiness.path`.
    pub field: String,
    /// What is wrong and what would do.
    pub reason: String,
}

/// Most replicas of one service in one region.
pub const REPLICAS_MAX: u32 = 100;

impl ServiceSpec {
    /// Says everything that is wrong, not only the first thing.
    #[must_use]
    pub fn check(&self) -> Vec<InvalidSpec> {
        let mut found = Vec::new();
        let mut refuse = |field: &str, reason: &str| {
            found.push(InvalidSpec {
                field: field.to_owned(),
                reason: reason.to_owned(),
            });
        };
        match &self.source {
            Some(Source::Git(git)) => {
                if let Err(reason) = check_repo(&git.repo) {
                    refuse("source.repo", reason);
                }
                if git
                    .branch
                    .as_deref()
                    .is_some_and(|branch| !is_git_ref(branch))
                {
                    refuse(
                        "source.branch",
                        "not a name that git allows for a branch or tag",
                    );
                }
                if !is_inner_path(&git.root) {
                    refuse(
                        "source.root",
                        "must be a folder within the repository, without \"..\"",
                    );
                }
            }
            Some(Source::Image(image))
                if image.image.trim() != image.image || image.image.is_empty() =>
            {
                refuse(
                    "source.image",
                    "must be an image reference such as registry.example.com/acme/api:1.4",
                );
            }
            _ => {}
        }
        if !is_inner_path(&self.build.dockerfile_path) {
            refuse(
                "build.dockerfile_path",
                "must be a file within the source, without \"..\"",
            );
        }
        if self.build.timeout < Span::seconds(10) || self.build.timeout > Span::seconds(4 * 3600) {
            refuse("build.timeout", "must be between 10s and 4h");
        }
        for (field, command) in [
            ("deploy.start_command", &self.deploy.start_command),
            ("deploy.pre_deploy_command", &self.deploy.pre_deploy_command),
        ] {
            if command
                .as_ref()
                .is_some_and(|argv| argv.is_empty() || argv.iter().any(|a| a.contains('\0')))
            {
                refuse(field, "must name a program, as a list of arguments");
            }
        }
        let probes = [
            ("startup", Some(&self.deploy.startup)),
            ("readiness", Some(&self.deploy.readiness)),
            ("liveness", self.deploy.liveness.as_ref()),
        ];
        for (name, probe) in probes
            .into_iter()
            .filter_map(|(name, probe)| Some((name, probe?)))
        {
            if let Err(reason) = probe.check() {
                refuse(&format!("deploy.{name}"), reason);
            }
        }
        if self.deploy.draining > Span::seconds(3600) {
            refuse("deploy.draining", "must be at most 1h");
        }
        if !(Span::seconds(10)..=Span::seconds(3600)).contains(&self.deploy.progress_deadline) {
            refuse("deploy.progress_deadline", "must be between 10s and 1h");
        }
        if self
            .scale
            .regions
            .values()
            .any(|replicas| *replicas > REPLICAS_MAX)
        {
            refuse(
                "scale.regions",
                "a region has at most 100 replicas of a service",
            );
        }
        if self.scale.resources.cpu < MilliCpu(10) {
            refuse("scale.resources.cpu", "must be at least 0.01");
        }
        if self.scale.resources.memory < Bytes::mebibytes(16) {
            refuse("scale.resources.memory", "must be at least 16Mi");
        }
        if !(16..=32_768).contains(&self.scale.resources.pids) {
            refuse("scale.resources.pids", "must be between 16 and 32768");
        }
        if self.network.port == 0 {
            refuse("network.port", "must be between 1 and 65535");
        }
        found
    }

    /// Whether a second copy may run while a node is cut off.
    #[must_use]
    pub fn duplication(&self) -> Duplication {
        match self.deploy.strategy {
            Strategy::Rolling => Duplication::Allowed,
            Strategy::Recreate => Duplication::Never,
        }
    }
}

impl Probe {
    fn check(&self) -> Result<(), &'static str> {
        if self.path.as_deref().is_some_and(|path| {
            !path.starts_with('/') || path.len() > 1024 || path.contains(char::is_whitespace)
        }) {
            return Err("the path must begin with \"/\" and have no spaces");
        }
        if self.interval < Span::seconds(1) || self.timeout < Span::seconds(1) || self.failures == 0
        {
            return Err("interval and timeout must be at least 1s and failures at least 1");
        }
        Ok(())
    }
}

/// Whether a repository's address is one that the build sandbox may be asked to fetch.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_repo(repo: &str) -> Result<(), &'static str> {
    const SCHEMES: [&str; 3] = ["https://", "ssh://", "file://"];
    if repo.len() > 2048
        || repo.chars().any(|c| c.is_control() || c.is_whitespace())
        || repo.starts_with('-')
    {
        return Err("must be a repository's address without spaces, at most 2048 characters");
    }
    let rest = SCHEMES.iter().find_map(|scheme| repo.strip_prefix(scheme));
    let scp_like = || {
        repo.split_once(':').is_some_and(|(host, path)| {
            host.contains('@') && !host.contains('/') && !path.is_empty()
        })
    };
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with('-') => Err("names no host or path"),
        Some(_) => Ok(()),
        None if scp_like() => Ok(()),
        None => Err("must begin with https:// or ssh://, or look like git@host:path"),
    }
}

/// Whether `text` can be a branch, tag or commit for git (`git-check-ref-format`), and no option.
#[must_use]
pub fn is_git_ref(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !text.ends_with(".lock")
        && !["..", "@{", "//", "/."]
            .iter()
            .any(|bad| text.contains(bad))
        && !text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
}

fn is_inner_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1024
        && !path.contains(['\0', '\\'])
        && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ServiceSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_empty_specification_has_sound_defaults() {
        let spec = spec("{}");
        assert_eq!(spec.check(), []);
        assert_eq!(spec.deploy.draining, Span::seconds(30));
        assert_eq!(spec.network.port, 8080);
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(
            serde_json::from_str::<ServiceSpec>(r#"{"deploy":{"strategi":"rolling"}}"#).is_err()
        );
        assert!(
            serde_json::from_str::<ServiceSpec>(
                r#"{"source":{"repo":"https://a/b","brunch":"x"}}"#
            )
            .is_err()
        );
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let spec = spec(
            r#"{"source":{"repo":"--upload-pack=id","branch":"a..b","root":"../x"},
                "deploy":{"readiness":{"path":"health"}},"scale":{"resources":{"cpu":0,"memory":"1Mi"}},"network":{"port":0}}"#,
        );
        let fields: Vec<_> = spec.check().into_iter().map(|fault| fault.field).collect();
        assert_eq!(
            fields,
            [
                "source.repo",
                "source.branch",
                "source.root",
                "deploy.readiness",
                "scale.resources.cpu",
                "scale.resources.memory",
                "network.port"
            ]
        );
    }

    #[test]
    fn repositories_that_git_could_take_for_something_else() {
        for repo in [
            "-x",
            "ext::sh -c id",
            "http://a/b",
            "/etc",
            "https://",
            "file://",
            "a b",
            "https://a\nb",
            "ssh://-oProxyCommand=id/x",
        ] {
            assert!(check_repo(repo).is_err(), "{repo}");
        }
        for repo in [
            "https://git.example.com/a/b.git",
            "ssh://git@host:2222/a.git",
            "git@host:a/b.git",
            "file:///srv/a.git",
        ] {
            assert_eq!(check_repo(repo), Ok(()), "{repo}");
        }
    }
}
