//! `/v1/services/{service_id}/instances`: running copies, as planned and as seen.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::{Desired, State},
    name::Name,
    quantity::{Bytes, MilliCpu},
};

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// The instance.
    pub id: InstanceId,
    /// What it is a copy of.
    pub service_id: ServiceId,
    /// Its version.
    pub release_id: ReleaseId,
    /// The deployment that placed it.
    pub deployment_id: DeploymentId,
    /// Where it runs.
    pub region: Name,
    /// The machine it runs on.
    pub node_id: NodeId,
    /// What the plan wants of it.
    pub desired: Desired,
    /// What its agent last saw.
    pub state: State,
    /// It takes traffic.
    pub ready: bool,
    /// Its node is silent: what is shown here may be old.
    pub unreachable: bool,
    /// How often it was restarted in place.
    pub restarts: u32,
    /// The digest that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Of its last end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Why it isn't running or ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<InstanceProblem>,
    /// CPU in use.
    pub cpu: MilliCpu,
    /// Memory in use.
    pub memory: Bytes,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When its agent last told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<DateTime<Utc>>,
}

/// Why an instance isn't running or ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceProblem {
    /// Stable, snake_case: `image_pull_failed`, `startup_probe_failed`, `exited`, …
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}
