//! How edges treat the requests of a service: what is tried again, which instances are left out for a while, and how
//! much each of them gets.

use serde::{Deserialize, Serialize};

use crate::quantity::{Bytes, Span};

const YEAR: Span = Span::seconds(365 * 24 * 3600);

/// How a request whose attempt broke is tried again. Only one that is idempotent and that no instance has begun to
/// answer is; and of a service's requests at most a fifth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// How often, beside the first attempt.
    pub attempts: u32,
    /// Until the first byte of the answer, for an attempt after which another one may follow; `0s` means as long as
    /// `timeouts.first_byte`.
    pub per_try: Span,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 2,
            per_try: Span::seconds(10),
        }
    }
}

impl Retries {
    /// Most attempts beside the first one.
    pub const ATTEMPTS_MAX: u32 = 10;

    /// Whether edges can go by it.
    ///
    /// # Errors
    /// What is wrong.
    pub const fn check(&self) -> Result<(), &'static str> {
        if self.attempts > Self::ATTEMPTS_MAX {
            return Err("attempts must be at most 10");
        }
        Ok(())
    }
}

/// When an instance that fails requests is left out ("ejected"), and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that eject an instance.
    pub failures: u32,
    /// Failures that are further apart than this are not in a row.
    pub interval: Span,
    /// From then on one request may try the instance; the instance is back when that is answered.
    pub ejection: Span,
    /// Of a service's instances in a region, at most so many are ejected at a time. 0 ejects none.
    pub max_ejected_percent: u32,
    /// Answers with a status from 500 on are failures, too.
    pub server_errors: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 3,
            interval: Span::seconds(30),
            ejection: Span::seconds(30),
            max_ejected_percent: 50,
            server_errors: false,
        }
    }
}

impl Breaker {
    /// Whether edges can go by it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        let hour = Span::seconds(1)..=Span::seconds(3600);
        if !(1..=100).contains(&self.failures) {
            return Err("failures must be between 1 and 100");
        }
        if !hour.contains(&self.interval) || !hour.contains(&self.ejection) {
            return Err("interval and ejection must be between 1s and 1h");
        }
        if self.max_ejected_percent > 100 {
            return Err("max_ejected_percent must be at most 100");
        }
        Ok(())
    }
}

/// How much an edge gives a service's instances at a time. By default as much as there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests and WebSockets that one instance has at a time from one edge, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Instances that have fewer from the edge are preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<u32>,
    /// Requests that wait at one edge while every instance has its `connections`; further ones are refused (503).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Largest request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Bytes>,
}

impl Limits {
    /// Most requests that may wait.
    pub const PENDING_MAX: u32 = 10_000;

    /// Whether edges can go by it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.connections == Some(0) || self.soft == Some(0) {
            return Err("connections and soft must be at least 1; leave them out for no limit");
        }
        if let (Some(soft), Some(hard)) = (self.soft, self.connections)
            && soft > hard
        {
            return Err("soft must be at most connections");
        }
        match self.pending {
            Some(_) if self.connections.is_none() => {
                Err("pending has no meaning without connections")
            }
            Some(pending) if pending > Self::PENDING_MAX => Err("pending must be at most 10000"),
            _ => Ok(()),
        }
    }
}

/// Whether a user's requests stay with one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// Each request goes where there is least to do.
    #[default]
    Off,
    /// A cookie names the instance; it is honoured while that one can be used.
    Cookie,
}

/// What instances speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1; gRPC gets HTTP/2 all the same.
    #[default]
    Http1,
    /// HTTP/2 without TLS, for every request but WebSockets and health checks.
    H2c,
}

/// Whether browsers may be told for so long to use HTTPS only (RFC 6797).
///
/// # Errors
/// What is wrong.
pub fn check_hsts(hsts: Span) -> Result<(), &'static str> {
    let ten_years = Span::milliseconds(YEAR.as_millis() * 10);
    if (Span::seconds(1)..=ten_years).contains(&hsts) {
        Ok(())
    } else {
        Err("must be between 1s and 10y")
    }
}
