//! `/v1/nodes`: machines (or clusters) that run agents, and edges.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use domain::{
    id::NodeId,
    name::Name,
    quantity::{Bytes, MilliCpu},
    ring::Ring,
};

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// The node.
    pub id: NodeId,
    /// What it is called.
    pub name: Name,
    /// Where it stands.
    pub region: Name,
    /// What it is.
    pub role: NodeRole,
    /// New instances may be placed here.
    pub schedulable: bool,
    /// It is being emptied.
    pub draining: bool,
    /// It was expelled: its certificate is refused.
    pub denied: bool,
    /// It was declared dead: what it ran is placed elsewhere, and nobody speaks with it until it has come
    /// back and ended what it ran.
    #[serde(default)]
    pub fenced: bool,
    /// Of an edge: when changes that the platform makes by itself reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Ring>,
    /// When its certificate ends; it renews it long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<DateTime<Utc>>,
    /// What the scheduler has promised of it.
    pub reserved: NodeResources,
    /// What it last told; absent before its first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeStatus>,
    /// For `If-Match`.
    pub version: i64,
    /// When it joined.
    pub created_at: DateTime<Utc>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Runs workloads and builds.
    Agent,
    /// Carries traffic.
    Edge,
}

impl NodeRole {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Edge => "edge",
        }
    }
}

/// An amount of what workloads use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeResources {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
}

/// What a node last told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// When.
    pub reported_at: DateTime<Utc>,
    /// Since when it is silent for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_since: Option<DateTime<Utc>>,
    /// Of its binary.
    pub binary_version: String,
    /// What it offers to workloads.
    pub capacity: NodeResources,
    /// What its workloads use.
    pub usage: NodeResources,
    /// Where users reach it (edges).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<String>,
    /// How far it has applied each feed that it follows.
    pub feeds: BTreeMap<String, NodeFeed>,
}

/// How far a node has applied a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeFeed {
    /// The epoch.
    pub epoch: i64,
    /// The generation within the epoch.
    pub generation: i64,
    /// Drops that its brake holds until an operator lets them go.
    pub held_drops: i64,
}

/// Changes a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateNode {
    /// New instances may be placed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedulable: Option<bool>,
    /// Empty it: its instances are replaced elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    /// Of an edge: changes that the platform makes by itself reach it with this ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<Ring>,
}

/// `POST /v1/nodes/{node_id}/override`: lets the drops go that the node's brake holds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideNode {
    /// The feed, such as `routes/global`.
    #[schema(max_length = 200)]
    pub feed: String,
    /// For the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// `POST /v1/nodes/{node_id}/fence`: declares a node dead that is silent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FenceNode {
    /// For the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// Which nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct NodeQuery {
    /// Only those of this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Name>,
    /// The `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most so many items, 1 to 200; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}
