//! What is done with the requests of a host name: where they go, and within which limits.

use domain::{
    id::ServiceId,
    name::Name,
    quantity::Span,
    spec::{Protocol, Retries, Sticky, Timeouts},
};
use http::HeaderValue;
use protocol::item::HostnameItem;

/// A host name's service and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// As routed, `*.` in front for a wildcard.
    pub hostname: String,
    /// Of its paths, this one and those below it; none: those that no other route has.
    pub path: Option<String>,
    /// Where its requests go.
    pub service_id: ServiceId,
    /// Regions with instances.
    pub regions: Vec<Name>,
    /// Plain HTTP is answered by a redirect.
    pub https_redirect: bool,
    /// Whether a user's requests stay with one instance.
    pub sticky: Sticky,
    /// What its instances speak.
    pub protocol: Protocol,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// Largest body in bytes.
    pub max_body: Option<u64>,
    /// Its service has rules: without them no request passes.
    pub ruled: bool,
    /// Answers are compressed for clients that take it.
    pub compression: bool,
    /// `Strict-Transport-Security`.
    pub hsts: Option<HeaderValue>,
}

impl Route {
    /// As an item says.
    #[must_use]
    pub fn of(item: &HostnameItem) -> Self {
        Self {
            hostname: item.hostname.clone(),
            path: item.path.clone(),
            service_id: item.service_id,
            regions: item.regions.clone(),
            https_redirect: item.https_redirect,
            protocol: item.policy.protocol.unwrap_or_default(),
            sticky: item.policy.sticky.unwrap_or_default(),
            retries: item.policy.retries.unwrap_or_default(),
            timeouts: item.policy.timeouts(item.timeouts),
            max_body: item.max_body.map(|bytes| bytes.0),
            ruled: item.policy.ruled,
            compression: item.policy.compression.unwrap_or(true),
            hsts: item.policy.hsts.and_then(hsts),
        }
    }
}

fn hsts(time: Span) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("max-age={}", time.as_millis() / 1000)).ok()
}
