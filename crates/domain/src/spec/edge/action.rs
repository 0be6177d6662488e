//! What a rule does with a request. Some end it (block, allow, redirect, maintenance, and limits and passwords that it
//! does not pass), the others change something and let the next rules look at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PasswordHash, RateLimitKey};
use crate::quantity::Span;

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum EdgeAction {
    /// Refuses it.
    Block(BlockAction),
    /// Lets it through: no later rule is looked at.
    Allow(AllowAction),
    /// Sends the client elsewhere.
    Redirect(RedirectAction),
    /// The instance sees another path.
    Rewrite(RewriteAction),
    /// Changes headers.
    Headers(HeadersAction),
    /// Refuses what is too much.
    RateLimit(RateLimitAction),
    /// Refuses who has no password.
    BasicAuth(BasicAuthAction),
    /// Answers in place of the service.
    Maintenance(MaintenanceAction),
}

impl EdgeAction {
    /// As written in `action`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Block(_) => "block",
            Self::Allow(_) => "allow",
            Self::Redirect(_) => "redirect",
            Self::Rewrite(_) => "rewrite",
            Self::Headers(_) => "headers",
            Self::RateLimit(_) => "rate_limit",
            Self::BasicAuth(_) => "basic_auth",
            Self::Maintenance(_) => "maintenance",
        }
    }
}

/// Refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BlockAction {
    /// 400 to 499.
    #[serde(default = "forbidden")]
    pub status: u16,
}

/// Lets a request through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowAction {}

/// Sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RedirectAction {
    /// `https://…`, `http://…` or a path. `{path}`, `{query}` (with its `?`) and `{host}` stand for the request's own.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    pub status: u16,
}

/// The instance sees another path. Conditions of later rules still see the one that the client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RewriteAction {
    /// The new path; `{path}` stands for the old one. The query stays, unless this has one of its own.
    pub path: String,
    /// Taken off the old path first, where it begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
}

/// Changes headers of the request before an instance gets it, and of the instance's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeadersAction {
    /// Of the request.
    #[serde(default, skip_serializing_if = "HeaderChanges::is_empty")]
    pub request: HeaderChanges,
    /// Of the answer.
    #[serde(default, skip_serializing_if = "HeaderChanges::is_empty")]
    pub response: HeaderChanges,
}

/// Headers that are removed, then those that are set in the place of all of their name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeaderChanges {
    /// Names and values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// Refuses what is too much (429). All edges count together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RateLimitAction {
    /// What is counted together.
    pub key: RateLimitKey,
    /// So many requests at once, and so many more evenly over each window. 1 to 1,000,000.
    pub limit: u32,
    /// 1 s to 1 day.
    pub window: Span,
    /// Counts and logs what it would refuse, and refuses nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Answers that pass carry `RateLimit-*` as well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub headers: bool,
}

/// Refuses who has no password (401).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BasicAuthAction {
    /// What browsers show.
    #[serde(default = "restricted")]
    pub realm: String,
    /// Hashes of passwords by user; `railhead edge rules password` makes both.
    pub users: BTreeMap<String, PasswordHash>,
}

/// Answers in place of the service (503).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MaintenanceAction {
    /// When clients shall come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
    /// What people read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

const fn forbidden() -> u16 {
    403
}

const fn found() -> u16 {
    302
}

fn restricted() -> String {
    "Restricted".to_owned()
}

const fn is_false(value: &bool) -> bool {
    !*value
}
