//! `/v1/organizations/{organization_id}/audit-events`: who did what, from where, with which result.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::AuditEventId;

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEvent {
    /// The event.
    pub id: AuditEventId,
    /// When.
    pub at: DateTime<Utc>,
    /// `user`, `api_token`, `system` or `anonymous`.
    pub actor_kind: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_address: Option<String>,
    /// `service.create`, `session.create`, …
    pub action: String,
    /// The id of what it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `success`, `failure` or `denied`.
    pub outcome: AuditOutcome,
    /// The problem's code, unless it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Names the request in logs and traces.
    pub request_id: String,
    /// More than one: so many alike within a minute were counted as one.
    pub occurrences: i32,
    /// More about it; never a secret.
    pub detail: serde_json::Value,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Success,
    /// It was tried and could not be done.
    Failure,
    /// It was not allowed.
    Denied,
}

impl AuditOutcome {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}
