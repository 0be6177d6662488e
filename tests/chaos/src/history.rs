//! What a test did to the platform and what it was answered, in order. A write whose answer was lost may
//! have happened or not: both are right.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use domain::id::{DeploymentId, ProjectId, ServiceId};
use e2e::load::Record;

/// How a write was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// With 2xx: it must last.
    Acknowledged(T),
    /// With a refusal: it must not have happened.
    Refused(String),
    /// Not, or not so that it can be known.
    Unknown(String),
}

impl<T> Answer<T> {
    /// What the client was told.
    pub fn of(result: Result<T, api::client::Error>) -> Self {
        match result {
            Ok(value) => Self::Acknowledged(value),
            Err(error) => match error.status().map(|status| status.as_u16()) {
                // An earlier try of the same request may have been the one that counted.
                Some(400 | 401 | 403 | 404 | 422) => Self::Refused(error.to_string()),
                _ => Self::Unknown(error.to_string()),
            },
        }
    }

    /// What was acknowledged.
    pub fn acknowledged(&self) -> Option<&T> {
        match self {
            Self::Acknowledged(value) => Some(value),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }

    /// Whether it may have happened.
    pub fn is_possible(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// What was written, and how that was answered.
pub type Write<W, T = ()> = (W, Answer<T>);

/// A number of replicas in a region.
pub type Replicas = (ServiceId, &'static str, u32);

/// Everything, in order.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Deployments that were asked for.
    pub deployments: Vec<Write<ServiceId, DeploymentId>>,
    /// Variables that were set: name, value.
    pub variables: Vec<Write<(String, String)>>,
    /// Numbers of replicas that were asked for.
    pub scales: Vec<Write<Replicas>>,
    /// For each that was acknowledged, from then until so many were to run, and were ready.
    pub scaling: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// Projects that were deleted.
    pub deletions: Vec<Write<ProjectId>>,
    /// Processes that were killed.
    pub kills: Vec<Kill>,
    /// What tenants' users asked for.
    pub requests: Vec<Record>,
}

/// One `kill -9`.
#[derive(Debug, Clone)]
pub struct Kill {
    /// Such as `us-east-agent`.
    pub process: String,
    /// When the signal was sent.
    pub at: DateTime<Utc>,
    /// When another process of that name was seen to be ready.
    pub back: Option<DateTime<Utc>>,
    /// Where its users reach it, when it is an edge.
    pub edge: Option<SocketAddr>,
}

impl Kill {
    /// What kind of process it was: its name without region and number.
    pub fn kind(&self) -> &str {
        kind(&self.process)
    }
}

/// `us-east-build-engine` → `build-engine`, `control-plane-2` → `control-plane`.
pub fn kind(process: &str) -> &str {
    const KINDS: [&str; 9] = [
        "control-plane",
        "build-engine",
        "engine",
        "agent",
        "edge",
        "postgres",
        "redis",
        "registry",
        "internet",
    ];
    let is = |kind: &&&str| process.ends_with(**kind) || process.starts_with(**kind);
    KINDS.iter().find(is).map_or(process, |kind| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_kind() {
        assert_eq!(kind("us-east-build-engine"), "build-engine");
        assert_eq!(kind("eu-west-engine"), "engine");
        assert_eq!(kind("control-plane-2"), "control-plane");
        assert_eq!(kind("balancer"), "balancer");
    }
}
