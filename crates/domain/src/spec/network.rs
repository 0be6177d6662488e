//! How traffic reaches a service.

use serde::{Deserialize, Serialize};

use super::{Breaker, Limits, Protocol, Retries, Sticky};
use crate::{
    name::Name,
    quantity::{Bytes, Span},
};

/// A WebSocket may be silent for so long.
const WEB_SOCKET_IDLE: Span = Span::seconds(3600);

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
    /// What is tried again.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: Retries,
    /// Which instances are left out.
    #[serde(skip_serializing_if = "is_default")]
    pub breaker: Breaker,
    /// How much instances get at a time.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Largest request body; absent means no limit. The same as `limits.body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Bytes>,
    /// Whether a user's requests stay with one instance.
    #[serde(skip_serializing_if = "is_default")]
    pub sticky: Sticky,
    /// What instances speak.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Browsers are told for so long to use HTTPS only; absent: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Span>,
    /// Edges compress answers for clients that take it.
    #[serde(skip_serializing_if = "is_on")]
    pub compression: bool,
    /// Regions that requests may be answered in; empty means any.
    pub residency: Vec<Name>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            port: 8080,
            https_redirect: true,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            breaker: Breaker::default(),
            limits: Limits::default(),
            max_body: None,
            sticky: Sticky::Off,
            protocol: Protocol::Http1,
            hsts: None,
            compression: true,
            residency: Vec::new(),
        }
    }
}

impl NetworkSpec {
    /// Largest request body.
    #[must_use]
    pub fn body_max(&self) -> Option<Bytes> {
        self.limits.body.or(self.max_body)
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
    /// From the request's head to the end of the answer. Not of WebSockets.
    #[serde(skip_serializing_if = "is_default")]
    pub total: Span,
    /// Between two bytes of a WebSocket.
    #[serde(skip_serializing_if = "is_an_hour")]
    pub web_socket_idle: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(5),
            first_byte: Span::seconds(60),
            idle: Span::seconds(300),
            total: Span::seconds(0),
            web_socket_idle: WEB_SOCKET_IDLE,
        }
    }
}

// What is as by default is not written: programs of the version before refuse fields that they do not know.

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_on(value: &bool) -> bool {
    *value
}

fn is_an_hour(span: &Span) -> bool {
    *span == WEB_SOCKET_IDLE
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_as_by_default_is_not_written() {
        let written = serde_json::to_value(NetworkSpec::default()).unwrap();
        let fields = |value: &serde_json::Value| {
            let names = value.as_object().unwrap().keys().cloned();
            names.collect::<BTreeSet<String>>()
        };
        let wanted = ["https_redirect", "port", "residency", "timeouts"];
        assert_eq!(fields(&written), BTreeSet::from(wanted.map(String::from)));
        let wanted = ["connect", "first_byte", "idle"];
        assert_eq!(
            fields(&written["timeouts"]),
            BTreeSet::from(wanted.map(String::from))
        );
    }

    #[test]
    fn the_words_of_the_file_are_read_and_written_again() {
        let text = r#"{"port":8080,"https_redirect":true,"residency":[],
            "timeouts":{"connect":"5s","first_byte":"1m","idle":"5m","total":"2m","web_socket_idle":"10m"},
            "retries":{"attempts":1,"per_try":"3s"},
            "breaker":{"failures":5,"interval":"10s","ejection":"1m","max_ejected_percent":30,"server_errors":true},
            "limits":{"connections":100,"soft":80,"pending":50,"body":"100Mi"},
            "sticky":"cookie","protocol":"h2c","hsts":"1y","compression":false}"#;
        let read: NetworkSpec = serde_json::from_str(text).unwrap();
        let wanted: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), wanted);
        assert_eq!(read.body_max(), Some(Bytes::mebibytes(100)));
    }
}
