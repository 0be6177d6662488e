//! What a tenant has set for a service's requests. Absent where it is as by default, so that items of services that
//! set nothing are the same bytes as before there was something to set.

use domain::{
    id::DeploymentId,
    quantity::Span,
    spec::{Breaker, Limits, NetworkSpec, Protocol, Retries, Sticky, Timeouts},
};
use serde::{Deserialize, Serialize};

use super::{Endpoint, bounds};

/// What a hostname's item says beyond what every one says; each part as in `domain::spec::NetworkSpec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutePolicy {
    /// `timeouts.total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Span>,
    /// `timeouts.web_socket_idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_socket_idle: Option<Span>,
    /// `retries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// `sticky`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// `protocol`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// `hsts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Span>,
    /// `compression`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// The service has rules ([`super::RulesItem`]): without them no request passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ruled: bool,
}

impl RoutePolicy {
    /// Of a service.
    #[must_use]
    pub fn of(network: &NetworkSpec) -> Self {
        let (usual, timeouts) = (Timeouts::default(), network.timeouts);
        let unless_usual = |span: Span, usual: Span| (span != usual).then_some(span);
        Self {
            total: unless_usual(timeouts.total, usual.total),
            web_socket_idle: unless_usual(timeouts.web_socket_idle, usual.web_socket_idle),
            retries: unless_default(network.retries),
            sticky: unless_default(network.sticky),
            protocol: unless_default(network.protocol),
            hsts: network.hsts,
            compression: (!network.compression).then_some(false),
            ruled: false,
        }
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// An item's limits of time, with those that are here.
    #[must_use]
    pub fn timeouts(&self, of_item: Timeouts) -> Timeouts {
        Timeouts {
            total: self.total.unwrap_or(of_item.total),
            web_socket_idle: self.web_socket_idle.unwrap_or(of_item.web_socket_idle),
            ..of_item
        }
    }
}

/// A service's limits of time without those that are in [`RoutePolicy`]: edges of the version before refuse an item with
/// a limit that they do not know.
#[must_use]
pub fn item_timeouts(network: &NetworkSpec) -> Timeouts {
    let Timeouts {
        total,
        web_socket_idle,
        ..
    } = Timeouts::default();
    Timeouts {
        total,
        web_socket_idle,
        ..network.timeouts
    }
}

/// What a service's item in a region says beyond its endpoints; each part as in `domain::spec::NetworkSpec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServicePolicy {
    /// `breaker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// `limits`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

impl ServicePolicy {
    /// Of a service. The limit of bodies is in the hostname's item.
    #[must_use]
    pub fn of(network: &NetworkSpec) -> Self {
        let limits = Limits {
            body: None,
            ..network.limits
        };
        Self {
            breaker: unless_default(network.breaker),
            limits: unless_default(limits),
        }
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn unless_default<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// Another deployment of the service, beside the item's own, that gets a part of its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The deployment: its requests and failures are counted on it.
    pub deployment_id: DeploymentId,
    /// Where its instances answer.
    #[serde(deserialize_with = "bounds::of_endpoints")]
    pub endpoints: Vec<Endpoint>,
    /// Percent of the requests that no split matches. All splits of an item have 100 at most; the item's own deployment
    /// has the rest.
    pub weight: u8,
    /// Requests that go there whatever the weights say: those that one of these fits.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounds::of_matches"
    )]
    pub matches: Vec<Match>,
    /// As in the item.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounds::of_health"
    )]
    pub health_path: Option<String>,
}

/// A mark of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Match {
    /// A header has this value.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its whole value.
        value: String,
    },
    /// A cookie has this value.
    Cookie {
        /// Its name.
        name: String,
        /// Its whole value.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_sets_nothing_has_no_policy() {
        let network = NetworkSpec::default();
        assert!(RoutePolicy::of(&network).is_default());
        assert!(ServicePolicy::of(&network).is_default());
        assert_eq!(item_timeouts(&network), network.timeouts);
    }

    #[test]
    fn what_is_set_comes_out_at_the_other_end() {
        let network = NetworkSpec {
            timeouts: Timeouts {
                first_byte: Span::seconds(7),
                total: Span::seconds(90),
                web_socket_idle: Span::seconds(60),
                ..Timeouts::default()
            },
            sticky: Sticky::Cookie,
            compression: false,
            breaker: Breaker {
                failures: 9,
                ..Breaker::default()
            },
            limits: Limits {
                connections: Some(3),
                body: Some(domain::quantity::Bytes(5)),
                ..Limits::default()
            },
            ..NetworkSpec::default()
        };
        let route = RoutePolicy::of(&network);
        let written = serde_json::to_value(item_timeouts(&network)).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 3, "{written}");
        assert_eq!(route.timeouts(item_timeouts(&network)), network.timeouts);
        assert_eq!(route.sticky, Some(Sticky::Cookie));
        assert_eq!(route.compression, Some(false));
        assert_eq!(
            (route.retries, route.hsts, route.protocol),
            (None, None, None)
        );
        let service = ServicePolicy::of(&network);
        assert_eq!(service.breaker, Some(network.breaker));
        assert_eq!(
            service.limits.and_then(|limits| limits.connections),
            Some(3)
        );
        assert_eq!(service.limits.and_then(|limits| limits.body), None);
    }
}
