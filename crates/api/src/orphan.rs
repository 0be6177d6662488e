//! `/v1/orphans`: instances that nodes run on although the platform's plan does not know them, after a
//! database was restored.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{InstanceId, NodeId, OrganizationId, ServiceId},
    name::Name,
};

/// An instance that runs on without a plan. It is taken back when its service and release still exist
/// and a replica is missing; else it runs on until it is let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orphan {
    /// The instance.
    pub instance_id: InstanceId,
    /// The node that runs it.
    pub node_id: NodeId,
    /// What the node is called.
    pub node: Name,
    /// Where the node stands.
    pub region: Name,
    /// What it is a copy of, as its node says.
    pub service_id: ServiceId,
    /// What that is called; absent when there is no such service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// Whose that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// Why it was not taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was first reported so.
    pub seen_at: DateTime<Utc>,
    /// When an operator let it go; it ends as its node hears of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_go_at: Option<DateTime<Utc>>,
}
