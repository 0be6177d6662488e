//! What shall happen to a request: a pure function of its head, its connection and the routes.
//! Knows no type of Pingora, so that another front (HTTP/3) can share it.

mod refusal;

use std::{net::IpAddr, sync::Arc};

use domain::{id::NodeId, name::Name};

use crate::route::{Route, RouteTable, hostname};

pub use refusal::Refusal;

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
    /// A certificate authority asks whether the host leads here.
    Challenge {
        /// The answer's body.
        key_authorization: Arc<str>,
    },
    /// The edge answers itself.
    Refuse(Refusal),
}

/// Decides. Reads the routes once; whoever holds them may go on with the same ones.
#[must_use]
pub fn decide(head: &RequestHead<'_>, connection: &ConnInfo, routes: &RouteTable) -> Decision {
    let Some(host) = head.authority.and_then(hostname::of_authority) else {
        return Decision::Refuse(Refusal::BadRequest);
    };
    if let Some(key_authorization) = routes.challenges().answer(&host, head.path_and_query) {
        return Decision::Challenge { key_authorization };
    }
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
    let (path, _query) = head
        .path_and_query
        .split_once('?')
        .unwrap_or((head.path_and_query, ""));
    let Some(route) = routes.route(&host, path) else {
        return Decision::Refuse(match routes.has_host(&host) {
            true => Refusal::UnknownPath,
            false => Refusal::UnknownHost,
        });
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
    use protocol::item::{ChallengeItem, GlobalRouteItem, HostnameItem, RoutePolicy};

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
                path: None,
                policy: RoutePolicy::default(),
            })
        };
        let challenge = GlobalRouteItem::Challenge(ChallengeItem {
            hostname: "a.test".into(),
            token: "t".into(),
            key_authorization: "t.thumb".into(),
        });
        RouteTable::build(
            &[&item("a.test"), &item("*.apps.test"), &challenge],
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
    fn a_part_of_the_paths_goes_to_another_service() {
        let item = |path: Option<&str>, hostname: &str| {
            GlobalRouteItem::Hostname(HostnameItem {
                hostname: hostname.into(),
                path: path.map(str::to_owned),
                service_id: domain::id::ServiceId::new(),
                regions: vec![],
                https_redirect: false,
                timeouts: domain::spec::Timeouts::default(),
                max_body: None,
                policy: RoutePolicy::default(),
            })
        };
        let (api, rest) = (item(Some("/api"), "a.b.test"), item(None, "*.b.test"));
        let alone = item(Some("/only"), "c.test");
        let items = [&api, &rest, &alone];
        let (before, counters) = (RouteTable::default(), Counters::default());
        let routes = RouteTable::build(&items, &[], &before, &counters);
        let decided = |authority, path_and_query| {
            let head = RequestHead {
                path_and_query,
                ..head(authority)
            };
            match decide(&head, &plain(), &routes) {
                Decision::Serve(route) => Ok((route.hostname.clone(), route.path.clone())),
                decision => Err(refusal(decision)),
            }
        };
        let part =
            |hostname: &str, path: Option<&str>| Ok((hostname.to_owned(), path.map(str::to_owned)));
        for path in ["/api", "/api?x=/y", "/api/v2?x"] {
            assert_eq!(
                decided("a.b.test", path),
                part("a.b.test", Some("/api")),
                "{path}"
            );
        }
        for path in ["/", "/?/api", "/apis"] {
            assert_eq!(decided("a.b.test", path), part("*.b.test", None), "{path}");
        }
        assert_eq!(decided("c.test", "/only"), part("c.test", Some("/only")));
        assert_eq!(decided("c.test", "/"), Err(Some(Refusal::UnknownPath)));
        assert_eq!(decided("d.test", "/"), Err(Some(Refusal::UnknownHost)));
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
    fn an_authority_is_answered_over_plain_http_whatever_the_service_wants() {
        fn asking(path_and_query: &str) -> RequestHead<'_> {
            RequestHead {
                path_and_query,
                ..head("A.test:80")
            }
        }
        let routes = routes(true);
        let path = "/.well-known/acme-challenge/";
        let decision = decide(&asking(&format!("{path}t")), &plain(), &routes);
        assert!(
            matches!(&decision, Decision::Challenge { key_authorization } if **key_authorization == *"t.thumb"),
            "{decision:?}"
        );
        let decision = decide(&asking(&format!("{path}other")), &plain(), &routes);
        assert!(
            matches!(decision, Decision::Redirect { .. }),
            "{decision:?}"
        );
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
}
