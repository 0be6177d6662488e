//! What shall happen to a request: a pure function of its head, its connection and the routes.
//! Knows no type of Pingora, so that another front (HTTP/3) can share it.

use std::{net::IpAddr, sync::Arc};

use domain::{id::NodeId, name::Name};

use crate::route::{RouteTable, hostname, table::Route};

/// The parts of a request's head that a decision needs.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Host and perhaps port, as the client wrote it.
    pub authority: Option<&'a str>,
    /// With the query.
    pub path_and_query: &'a str,
    /// What `Content-Length` says.
    pub content_length: Option<u64>,
    /// How many edges it came through, from a header that only edges are believed.
    pub hops: u8,
}

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct ConnInfo {
    /// The other end of the TCP connection.
    pub peer: IpAddr,
    /// Present when TLS ends here.
    pub tls: Option<TlsInfo>,
    /// Present when the peer is an edge of ours.
    pub via: Option<Via>,
}

/// What the handshake settled.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    /// The name the client asked for.
    pub server_name: Arc<str>,
    /// The names the certificate is good for: a client may reuse the connection for any of them.
    pub names: Arc<[String]>,
    /// `TLSv1_3` and the like.
    pub version: &'static str,
}

/// An edge that forwarded the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The edge, as its certificate says.
    pub node_id: NodeId,
    /// Its region.
    pub region: Name,
}

/// Edges that a request may pass, the first included.
pub const MAX_HOPS: u8 = 2;

/// What shall happen.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It goes to an instance of this route's service.
    Serve(Arc<Route>),
    /// The client shall come back with HTTPS.
    Redirect {
        /// The absolute address.
        location: String,
    },
    /// The edge answers itself.
    Refuse(Refusal),
}

/// Why the edge answers itself. Each has a stable code (`X-Railhead-Error`) and a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The head is not a request that RFC 9112 allows, or one that servers read in different ways.
    BadRequest,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// More than 32 KiB or 100 fields.
    HeaderTooLarge,
    /// The body is larger than the service allows.
    BodyTooLarge,
    /// The connection's certificate is not good for this host.
    Misdirected,
    /// No service has this host name.
    UnknownHost,
    /// It passed too many edges.
    TooManyHops,
    /// No region has an instance that answers.
    NoInstance,
    /// An instance (or another region) was there and broke off before it answered.
    InstanceFailed,
    /// An instance took the request and did not answer in time.
    FirstByteTimeout,
    /// A rule of the service blocks it, with this status.
    Blocked(u16),
    /// A rule of the service allows no more.
    RateLimited,
    /// A rule of the service asks for a password.
    Unauthorized,
    /// A rule of the service answers in its place.
    Maintenance,
    /// This edge failed.
    Internal,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::HeaderTimeout,
        Self::HeaderTooLarge,
        Self::BodyTooLarge,
        Self::Misdirected,
        Self::UnknownHost,
        Self::TooManyHops,
        Self::NoInstance,
        Self::InstanceFailed,
        Self::FirstByteTimeout,
        Self::Blocked(403),
        Self::RateLimited,
        Self::Unauthorized,
        Self::Maintenance,
        Self::Internal,
    ];

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::HeaderTimeout => 408,
            Self::HeaderTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::Misdirected => 421,
            Self::UnknownHost => 404,
            Self::TooManyHops => 508,
            Self::NoInstance => 503,
            Self::InstanceFailed => 502,
            Self::FirstByteTimeout => 504,
            Self::Blocked(status) => status,
            Self::RateLimited => 429,
            Self::Unauthorized => 401,
            Self::Maintenance => 503,
            Self::Internal => 500,
        }
    }

    /// The code in `X-Railhead-Error`, in problem documents, logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeaderTimeout => "header_timeout",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Misdirected => "misdirected_request",
            Self::UnknownHost => "unknown_host",
            Self::TooManyHops => "too_many_hops",
            Self::NoInstance => "no_instance",
            Self::InstanceFailed => "instance_failed",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Blocked(_) => "blocked",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Maintenance => "maintenance",
            Self::Internal => "internal",
        }
    }

    /// Whether the user got nothing by the platform's doing, and not as somebody asked for.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.status() >= 500 && !matches!(self, Self::Maintenance)
    }
}

/// Decides. Reads the routes once; whoever holds them may go on with the same ones.
#[must_use]
pub fn decide(head: &RequestHead<'_>, connection: &ConnInfo, routes: &RouteTable) -> Decision {
    let Some(host) = head.authority.and_then(hostname::of_authority) else {
        return Decision::Refuse(Refusal::BadRequest);
    };
    if head.hops >= MAX_HOPS {
        return Decision::Refuse(Refusal::TooManyHops);
    }
    if connection
        .tls
        .as_ref()
        .is_some_and(|tls| !covers(tls, &host))
    {
        return Decision::Refuse(Refusal::Misdirected);
    }
    let Some(route) = routes.route(&host) else {
        return Decision::Refuse(Refusal::UnknownHost);
    };
    if connection.tls.is_none() && connection.via.is_none() && route.https_redirect {
        return Decision::Redirect {
            location: format!("https://{host}{}", head.path_and_query),
        };
    }
    if route
        .max_body
        .is_some_and(|max| head.content_length.is_some_and(|length| length > max))
    {
        return Decision::Refuse(Refusal::BodyTooLarge);
    }
    Decision::Serve(Arc::clone(route))
}

fn covers(tls: &TlsInfo, host: &str) -> bool {
    *tls.server_name == *host || tls.names.iter().any(|name| hostname::matches(name, host))
}

#[cfg(test)]
mod tests {
    use protocol::item::{GlobalRouteItem, HostnameItem};

    use crate::upstream::counters::Counters;

    use super::*;

    fn routes(https_redirect: bool) -> RouteTable {
        let item = |hostname: &str| {
            GlobalRouteItem::Hostname(HostnameItem {
                hostname: hostname.into(),
                service_id: domain::id::ServiceId::new(),
                regions: vec![],
                https_redirect,
                timeouts: domain::spec::Timeouts::default(),
                max_body: Some(domain::quantity::Bytes(10)),
            })
        };
        RouteTable::build(
            &[&item("a.test"), &item("*.apps.test")],
            &[],
            &RouteTable::default(),
            &Counters::default(),
        )
    }

    fn head(authority: &str) -> RequestHead<'_> {
        RequestHead {
            authority: Some(authority),
            path_and_query: "/x?y",
            content_length: None,
            hops: 0,
        }
    }

    fn over_tls(name: &str, names: &[&str]) -> ConnInfo {
        ConnInfo {
            peer: [127, 0, 0, 1].into(),
            tls: Some(TlsInfo {
                server_name: name.into(),
                names: names.iter().map(|n| (*n).to_owned()).collect(),
                version: "TLSv1_3",
            }),
            via: None,
        }
    }

    fn plain() -> ConnInfo {
        ConnInfo {
            tls: None,
            ..over_tls("", &[])
        }
    }

    fn refusal(decision: Decision) -> Option<Refusal> {
        match decision {
            Decision::Refuse(refusal) => Some(refusal),
            _ => None,
        }
    }

    #[test]
    fn serves_exact_and_wildcard_hosts_with_any_case_and_port() {
        let tls = over_tls("a.test", &["a.test"]);
        for authority in ["a.test", "A.Test", "a.test:443", "a.test."] {
            let decision = decide(&head(authority), &tls, &routes(true));
            assert!(matches!(decision, Decision::Serve(_)), "{authority}");
        }
        let wildcard = over_tls("b.apps.test", &["*.apps.test"]);
        for authority in ["b.apps.test", "c.apps.test"] {
            let decision = decide(&head(authority), &wildcard, &routes(true));
            assert!(matches!(decision, Decision::Serve(_)), "{authority}");
        }
    }

    #[test]
    fn a_host_outside_the_certificate_is_misdirected() {
        let tls = over_tls("b.apps.test", &["*.apps.test"]);
        for authority in ["a.test", "x.b.apps.test"] {
            let decision = decide(&head(authority), &tls, &routes(true));
            assert_eq!(refusal(decision), Some(Refusal::Misdirected), "{authority}");
        }
    }

    #[test]
    fn plain_http_is_redirected_without_the_port_unless_the_service_allows_it() {
        let decision = decide(&head("a.test:80"), &plain(), &routes(true));
        let Decision::Redirect { location } = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(location, "https://a.test/x?y");
        let decision = decide(&head("a.test"), &plain(), &routes(false));
        assert!(matches!(decision, Decision::Serve(_)));
    }

    #[test]
    fn bad_hosts_loops_and_large_bodies_are_refused() {
        let cases = [
            (head("a.test/../b"), Refusal::BadRequest),
            (head(""), Refusal::BadRequest),
            (head("user@a.test"), Refusal::BadRequest),
            (head("nobody.test"), Refusal::UnknownHost),
            (
                RequestHead {
                    hops: MAX_HOPS,
                    ..head("a.test")
                },
                Refusal::TooManyHops,
            ),
            (
                RequestHead {
                    content_length: Some(11),
                    ..head("a.test")
                },
                Refusal::BodyTooLarge,
            ),
        ];
        for (head, expected) in cases {
            let decision = decide(&head, &plain(), &routes(false));
            assert_eq!(refusal(decision), Some(expected), "{head:?}");
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = Refusal::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Refusal::ALL.len());
    }
}
