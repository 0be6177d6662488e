//! `/v1/rollout`: how far a change that the platform makes by itself has come, ring by ring of edges.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{id::NodeId, ring::Ring};

/// The newest version of what edges read, and where each ring stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The version that rings are brought to.
    pub version: i32,
    /// Whether it goes on.
    pub state: RolloutState,
    /// Why it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// In the order in which they get it.
    pub rings: Vec<RolloutRing>,
}

/// Whether a rollout goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Ring by ring.
    Running,
    /// Every ring has the version.
    Done,
    /// By how edges fared, or by an operator; the rings went back.
    Stopped,
}

impl RolloutState {
    /// As shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

/// A ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutRing {
    /// The ring.
    pub ring: Ring,
    /// The version that it is at.
    pub version: i32,
    /// Since when all its routes are written in that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered_at: Option<DateTime<Utc>>,
    /// Since when its edges serve by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soaking_since: Option<DateTime<Utc>>,
    /// Its edges.
    pub edges: Vec<RolloutEdge>,
}

/// An edge of a ring, counted since its ring's turn came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutEdge {
    /// The edge.
    pub node_id: NodeId,
    /// What it is called.
    pub name: String,
    /// It is silent.
    pub late: bool,
    /// It serves by what its ring was rendered to.
    pub applied: bool,
    /// Requests.
    pub requests: i64,
    /// Of these: failed by the edge, or cut.
    pub failed: i64,
    /// Of these: for a host that it does not know.
    pub unrouted: i64,
    /// Items that it can't use now.
    pub items_refused: i64,
}

/// `POST /v1/rollout/stop` and `POST /v1/rollout/resume`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideRollout {
    /// For the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}
