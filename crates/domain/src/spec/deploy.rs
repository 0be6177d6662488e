//! How a version is started, checked, confined and replaced.

use serde::{Deserialize, Serialize};

use crate::quantity::Span;

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

/// What a container may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Confinement {
    /// No capabilities, not root.
    Restricted,
    /// Docker's default capabilities less `NET_RAW` and `MKNOD`.
    Baseline,
}
