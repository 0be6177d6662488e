//! `POST /node/v1/report`: a node's whole observed state. It is the heartbeat (every 5 s) and is
//! also sent within 100 ms of a changed instance state or applied generation.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use domain::{
    generation::Position,
    id::{BuildId, DeploymentId, EnvironmentId, InstanceId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
    ring::Ring,
};

use crate::feed::{Commit, FeedName};

/// A node's whole observed state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Changes with each start of the node's process.
    pub boot_id: String,
    /// Rises with each report of a boot; an older one is refused.
    pub sequence: u64,
    /// Of the node's binary.
    pub version: String,
    /// The newest commit applied of each feed.
    pub feeds: Vec<Commit>,
    /// Drops that the brake holds, per feed.
    #[serde(default)]
    pub held: BTreeMap<FeedName, u64>,
    /// What the agent or the edge adds.
    pub role: RoleReport,
}

/// What only an agent or only an edge reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum RoleReport {
    /// From an agent.
    Agent(AgentReport),
    /// From an edge.
    Edge(EdgeReport),
}

/// What an agent sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// What the node offers to workloads.
    pub capacity: Capacity,
    /// What the node's workloads use now.
    pub usage: Usage,
    /// Where the agent answers edges over mTLS.
    pub address: SocketAddr,
    /// Every instance that exists here, wanted or not, and those ended in the last 10 minutes.
    pub instances: Vec<InstanceReport>,
    /// Every build of the feed.
    pub builds: Vec<BuildReport>,
    /// What it keeps of services; absent from agents of the version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What of a tenant's is on a node: what is in neither list is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    /// With a container, or an image that was pulled for it.
    pub services: BTreeSet<ServiceId>,
    /// With a network.
    pub environments: BTreeSet<EnvironmentId>,
}

/// What a node offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// CPU for workloads.
    pub cpu: MilliCpu,
    /// Memory for workloads.
    pub memory: Bytes,
}

/// What is used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Over the last interval.
    #[serde(deserialize_with = "used_cpu")]
    pub cpu: MilliCpu,
    /// Working set.
    pub memory: Bytes,
    /// Received since the container's start.
    pub received: Bytes,
    /// Sent since the container's start.
    pub sent: Bytes,
}

/// Unlike a limit, what is used may be nothing or nearly so.
fn used_cpu<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<MilliCpu, D::Error> {
    let cores = f64::deserialize(deserializer)?;
    if !(0.0..=1024.0).contains(&cores) {
        return Err(serde::de::Error::custom(
            "a use of CPU between 0 and 1024 cores is expected",
        ));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(MilliCpu((cores * 1000.0).round() as u32))
}

/// One instance, as seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// The instance.
    pub id: InstanceId,
    /// Its version, as labelled.
    pub release_id: ReleaseId,
    /// What it is a copy of, as labelled.
    pub service_id: ServiceId,
    /// Only rises.
    pub state: State,
    /// Its readiness probe passes.
    pub ready: bool,
    /// How often it was restarted in place.
    pub restarts: u32,
    /// Where edges reach it, once running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The digest that runs, from the engine and not from the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Of the last end; none when nobody has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Why it isn't running or ready, for people; and a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What it uses.
    #[serde(default)]
    pub usage: Usage,
    /// The item is not in the newest document but the container runs on.
    #[serde(default)]
    pub orphaned: bool,
    /// Of an orphan: the item that it runs by, as once received, so that it can be adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<StoredItem>,
}

/// An item as a node has it stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredItem {
    /// Its bytes as they were rendered.
    pub json: String,
    /// Their SHA-256, hexadecimal, as the commit's digest covered it.
    pub sha256: String,
}

/// Something that keeps work from going on, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable, snake_case: `image_pull_failed`, `startup_probe_failed`, `exited`, `wrong_architecture`, …
    pub code: String,
    /// What was tried, on what, and what to do.
    pub message: String,
}

/// The code of a build that its node has ended because its item said so.
pub const BUILD_CANCELED: &str = "build_canceled";

/// One build, as seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildReport {
    /// The build.
    pub id: BuildId,
    /// How far it is.
    pub state: BuildState,
    /// When it was taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BuildState {
    /// Waits for the build engine.
    Waiting,
    /// The source is being fetched.
    Fetching,
    /// BuildKit is at work.
    Building,
    /// The image is on its way to the registry.
    Pushing,
    /// Done.
    Succeeded(BuildResult),
    /// Ended without an image.
    Failed {
        /// `repository_not_found`, `dockerfile_failed`, `timed_out`, `canceled`, …
        problem: Problem,
    },
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildResult {
    /// `sha256:…` of the manifest in the registry.
    pub digest: String,
    /// Of the image, uncompressed.
    pub size: Bytes,
    /// The commit, when the source is git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitInfo>,
    /// `sha256:…` of the image that was taken over, in its own registry, when the source is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
}

/// The commit that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    /// Full id.
    pub sha: String,
    /// First line of the message.
    pub title: String,
    /// Name of the author.
    pub author: String,
    /// The branch that it was the tip of; absent when a tag or a commit was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// What an edge sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeReport {
    /// Where it takes forwarded requests over mTLS.
    pub forward_address: SocketAddr,
    /// Where users reach it.
    pub public_address: SocketAddr,
    /// Requests since the edge's start, per deployment whose endpoints served them; bounded by what is routed.
    pub deployments: BTreeMap<DeploymentId, RequestCounts>,
    /// How it fares as a whole: a platform-made change goes on to the next ring by it.
    #[serde(default)]
    pub traffic: Traffic,
}

/// How an edge fares, since its start (`boot_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests, whoever they were for.
    pub requests: u64,
    /// Of these: answered by the edge with a 5xx of its own, or cut.
    pub failed: u64,
    /// Of these: for a host that it has no route or certificate for, or blocked by a rule.
    pub unrouted: u64,
    /// Items of its routes that it can't use at the moment.
    pub items_refused: u64,
}

/// Requests of one deployment through one edge since the edge's start (`boot_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestCounts {
    /// All.
    pub requests: u64,
    /// Answered by the edge with a 5xx of its own, or cut.
    pub failed: u64,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// When to send the next one.
    pub interval_ms: u64,
    /// The newest position of each feed: a node that is behind and has no open stream reconnects.
    pub feeds: BTreeMap<FeedName, Position>,
    /// An operator's override of the brake: drops held up to this position are let go.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub release: BTreeMap<FeedName, Position>,
    /// The ring whose routes an edge shall follow from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Ring>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_node_reports_no_use_of_cpu() {
        for millis in [0, 3, 1500] {
            let usage = Usage {
                cpu: MilliCpu(millis),
                ..Usage::default()
            };
            let text = serde_json::to_string(&usage).unwrap();
            assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
        }
        assert!(
            serde_json::from_str::<Usage>(r#"{"cpu":-1,"memory":0,"received":0,"sent":0}"#)
                .is_err()
        );
    }
}
