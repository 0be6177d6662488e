//! `/v1/platform/status`: how the platform itself fares, for its operators.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use domain::name::Name;

use crate::node::NodeRole;

/// How the platform itself fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlatformStatus {
    /// When this was seen, by the database's clock.
    pub at: DateTime<Utc>,
    /// Of the database's history; it rises when the database was restored or failed over.
    pub epoch: i64,
    /// What is wrong and what to do, worst first; empty when all is well.
    pub findings: Vec<Finding>,
    /// The tasks that bring plan and observation together.
    pub reconcilers: Vec<ReconcilerStatus>,
    /// What nodes follow.
    pub feeds: Vec<FeedStatus>,
    /// Machines, with what matters for their health.
    pub nodes: Vec<NodeHealth>,
    /// Work that waits.
    pub backlog: Backlog,
    /// What nodes say of the platform's registry.
    #[serde(default)]
    pub registry: RegistryStatus,
}

/// Something that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Stable, snake_case.
    pub code: String,
    /// What it is about: a node, a region, a reconciler.
    pub subject: String,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Users notice, or would with the next thing that fails.
    Critical,
    /// To be looked at in working hours.
    Warning,
}

/// How a reconciler fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReconcilerStatus {
    /// The task.
    pub name: String,
    /// The replica of the control plane that ran it last.
    pub holder: Uuid,
    /// Until when that replica holds the task's lease; absent when nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<DateTime<Utc>>,
    /// It runs at least this often.
    pub period_seconds: i64,
    /// When a turn last went well, to within ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<DateTime<Utc>>,
    /// When a turn last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<DateTime<Utc>>,
    /// Why the newest turn failed; absent when it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A feed and its followers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedStatus {
    /// Such as `routes/global`.
    pub name: String,
    /// Of its newest change.
    pub generation: i64,
    /// How many items it has.
    pub items: i64,
    /// When it last changed.
    pub changed_at: DateTime<Utc>,
    /// Nodes that follow it.
    pub followers: i64,
    /// Those of them that have not applied the newest change.
    pub behind: i64,
}

/// What matters for a node's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeHealth {
    /// What it is called.
    pub name: Name,
    /// Where it stands.
    pub region: Name,
    /// What it is.
    pub role: NodeRole,
    /// New instances may be placed there.
    pub schedulable: bool,
    /// It is being emptied.
    #[serde(default)]
    pub draining: bool,
    /// It was declared dead, and has not come back yet.
    #[serde(default)]
    pub fenced: bool,
    /// When it last reported; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<DateTime<Utc>>,
    /// Since when it is silent for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_since: Option<DateTime<Utc>>,
    /// When its certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<DateTime<Utc>>,
    /// What its brake holds.
    pub held_drops: i64,
    /// Feeds whose newest change is older than half a minute and not applied.
    pub behind: Vec<String>,
}

/// Work that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backlog {
    /// Jobs that could run now.
    pub jobs_due: i64,
    /// For how long the oldest of them could, in seconds.
    pub oldest_job_seconds: i64,
    /// Jobs that were given up.
    pub jobs_dead: i64,
    /// Deployments under way.
    pub deployments: i64,
    /// Services whose instances find no room.
    pub services_without_room: i64,
    /// Workflows whose step failed three times or more in a row.
    pub workflows_failing: i64,
    /// Instances that run although the plan does not know them.
    pub orphans: i64,
    /// Why the rollout of a change of the platform's own was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_stopped: Option<String>,
    /// Tenants' hostnames whose certificate is in the last tenth of its life (the last week at most): it should have been
    /// renewed long ago.
    #[serde(default)]
    pub certificates_ending: i64,
    /// Why there is no newer one of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_problem: Option<String>,
}

/// What nodes say of the platform's registry; nobody else asks it much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryStatus {
    /// Instances whose node can't get their image now.
    pub instances_without_image: i64,
    /// The nodes that say so.
    pub nodes_without_image: i64,
    /// Builds of the last hour that it failed, after the last one that it took.
    pub builds_failed: i64,
    /// What one of them was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
