//! `/v1/join-tokens`: single-use tokens that let a machine become a node.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{JoinTokenId, NodeId},
    name::Name,
};

use crate::node::NodeRole;

/// A join token; its secret is not shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    /// The token.
    pub id: JoinTokenId,
    /// Good for this region only.
    pub region: Name,
    /// Good for this role only.
    pub role: NodeRole,
    /// Good until then.
    pub expires_at: DateTime<Utc>,
    /// When it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<DateTime<Utc>>,
    /// The node that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes a join token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    /// Where the node will stand.
    pub region: Name,
    /// What it will be.
    pub role: NodeRole,
}

/// A new join token, shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedJoinToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub join_token: JoinToken,
    /// To be given to the node.
    pub token: String,
    /// Base URL of the node API, where the token is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<String>,
}
