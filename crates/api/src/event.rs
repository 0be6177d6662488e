//! `/v1/organizations/{organization_id}/events`: what happens, as server-sent events. The event's
//! id is its sequence; `Last-Event-ID` resumes. The SSE event `reset` means: too old, read anew.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Rises by one with each event of the organization, in the order of commits.
    pub sequence: i64,
    /// `deployment.live`, `service.updated`, …
    pub kind: String,
    /// The id of what it happened to.
    pub subject: String,
    /// More about it.
    pub data: serde_json::Value,
    /// When.
    pub at: DateTime<Utc>,
}
