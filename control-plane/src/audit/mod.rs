//! Who did what, from where, with which result. A change's event is written in the change's own
//! transaction ([`crate::store::tx::Mutation`]); what changed nothing (denials, failed attempts,
//! reads of secrets) is written in a transaction of its own before the answer.

mod recorder;

use std::net::IpAddr;

use serde_json::Value;

use api::audit_event::AuditOutcome;
use domain::id::{ApiTokenId, UserId};

pub use recorder::Recorder;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorId {
    /// A person with a session.
    User(UserId),
    /// A program with a token.
    ApiToken(ApiTokenId),
    /// The platform's operator on the command line, or the platform itself.
    System,
    /// Nobody we know.
    Anonymous,
}

impl ActorId {
    /// As stored.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiToken(_) => "api_token",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }

    /// The id with its prefix.
    #[must_use]
    pub fn id(self) -> Option<String> {
        match self {
            Self::User(id) => Some(id.to_string()),
            Self::ApiToken(id) => Some(id.to_string()),
            Self::System | Self::Anonymous => None,
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Who asks.
    pub actor: ActorId,
    /// From where.
    pub address: Option<IpAddr>,
    /// Names the request in logs and traces.
    pub request_id: String,
}

/// One event, before it has an id and a time.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who, from where.
    pub source: Source,
    /// `service.create`, …
    pub action: &'static str,
    /// The id of what it was done to.
    pub resource: Option<String>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The problem's code, unless it succeeded.
    pub error_code: Option<&'static str>,
    /// How many alike this event stands for.
    pub occurrences: i32,
    /// More about it; never a secret.
    pub detail: Value,
}

impl Entry {
    /// What was done.
    pub fn success(source: Source, action: &'static str, resource: impl ToString) -> Self {
        Self {
            source,
            action,
            resource: Some(resource.to_string()),
            outcome: AuditOutcome::Success,
            error_code: None,
            occurrences: 1,
            detail: Value::Object(serde_json::Map::new()),
        }
    }

    /// What was tried and not done.
    #[must_use]
    pub fn unsuccessful(
        source: Source,
        action: &'static str,
        resource: Option<String>,
        outcome: AuditOutcome,
        error_code: &'static str,
    ) -> Self {
        Self {
            source,
            action,
            resource,
            outcome,
            error_code: Some(error_code),
            occurrences: 1,
            detail: Value::Object(serde_json::Map::new()),
        }
    }

    /// The same with more about it.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}
