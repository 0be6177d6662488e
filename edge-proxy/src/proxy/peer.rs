//! How Pingora connects to a target.

use std::{sync::Arc, time::Duration};

use domain::{
    quantity::Span,
    spec::{Protocol, Timeouts},
};
use pingora::{
    proxy::Session,
    upstreams::peer::{HttpPeer, Tracer},
};

use super::{Edge, context::Target, headers};
use crate::{forward, upstream::connect::Dial};

/// Idle connections to instances are closed before common servers close theirs (gunicorn: 2 s,
/// Node.js: 5 s), so that a request never meets a connection that is being closed.
const IDLE_UPSTREAM: Duration = Duration::from_millis(1500);
/// Requests that share one connection of HTTP/2.
const H2_STREAMS: usize = 100;

/// What kind of exchange it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exchange {
    /// A request and an answer.
    #[default]
    Http,
    /// Likewise, by HTTP/2 up to the instance, with trailers, and beside others on one connection.
    Http2,
    /// A connection that is upgraded.
    WebSocket,
}

impl Edge {
    /// With `left` until the answer must have ended.
    pub(super) fn peer(
        &self,
        target: &Target,
        timeouts: &Timeouts,
        exchange: Exchange,
        left: Option<Duration>,
    ) -> HttpPeer {
        let mut peer = match target {
            Target::Instance { endpoint, .. } => {
                let dial = Dial::new(Arc::clone(&self.sockets), limit(timeouts.connect));
                let mut peer = HttpPeer::new(endpoint.spec.address, false, String::new());
                // The instance is part of the pool's key: an address that changed hands can't
                // bring one tenant's connection to another's request.
                peer.group_key = endpoint.tag();
                peer.options.tracer = Some(Tracer(Box::new(dial.clone())));
                peer.options.custom_l4 = Some(Arc::new(dial));
                peer
            }
            Target::Edge(edge) => {
                let mut peer = HttpPeer::new(edge.forward_address, false, String::new());
                peer.options.custom_l4 = Some(Arc::new(forward::dial::Dial {
                    links: Arc::clone(&self.links),
                    edge: edge.clone(),
                }));
                peer
            }
        };
        let idle = match exchange {
            Exchange::WebSocket => limit(timeouts.web_socket_idle),
            Exchange::Http | Exchange::Http2 => limit(timeouts.idle),
        };
        // The first byte has a timer of its own, which may be longer than silence later on.
        let silence = idle.map(|idle| idle.max(timeouts.first_byte.duration()));
        peer.options.read_timeout = silence;
        peer.options.write_timeout = idle;
        peer.options.idle_timeout = Some(IDLE_UPSTREAM);
        if exchange == Exchange::Http2 {
            // No timer may end what several requests share.
            peer.options.read_timeout = silence.into_iter().chain(left).min();
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = H2_STREAMS;
        }
        peer
    }
}

/// `0s` means none.
pub fn limit(span: Span) -> Option<Duration> {
    (span.as_millis() > 0).then(|| span.duration())
}

/// What kind of exchange a request begins with instances that speak this. WebSockets are an upgrade of HTTP/1.1, and gRPC
/// is HTTP/2, whatever they speak.
pub fn exchange_of(session: &Session, protocol: Protocol) -> Exchange {
    if session.is_upgrade_req() {
        Exchange::WebSocket
    } else if protocol == Protocol::H2c || headers::is_grpc(&session.req_header().headers) {
        Exchange::Http2
    } else {
        Exchange::Http
    }
}
