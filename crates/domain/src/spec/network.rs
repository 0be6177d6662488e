//! How traffic reaches a service.

use serde::{Deserialize, Serialize};

use crate::{
    name::Name,
    quantity::{Bytes, Span},
};

/// How traffic reaches a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// The port the program listens on, given to it as `PORT`.
    pub port: u16,
    /// Plain HTTP is answered by a redirect.
    pub https_redirect: bool,
    /// Of one request.
    pub timeouts: Timeouts,
    /// Largest request body; absent means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Bytes>,
    /// Regions that requests may be answered in; empty means any.
    pub residency: Vec<Name>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            port: 8080,
            https_redirect: true,
            timeouts: Timeouts::default(),
            max_body: None,
            residency: Vec::new(),
        }
    }
}

/// Limits of time on one request at the edge; `0s` means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To connect to an instance.
    pub connect: Span,
    /// Until the first byte of the answer.
    pub first_byte: Span,
    /// Between two bytes.
    pub idle: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(5),
            first_byte: Span::seconds(60),
            idle: Span::seconds(300),
        }
    }
}
