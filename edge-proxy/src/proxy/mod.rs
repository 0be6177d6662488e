//! Pingora's phases: each is a thin step around a decision made elsewhere.

mod answer;
mod begin;
pub mod context;
mod failure;
mod headers;
mod peer;
mod phases;
mod replay;
mod retry;
mod rules;
mod sticky;
mod target;

use std::sync::Arc;

use domain::spec::REPLICAS_MAX;
use pingora::{
    protocols::http::v2::server::default_h2_options, proxy::HttpProxy,
    server::configuration::ServerConf,
};

use crate::{
    drain::Drain, forward::link::Links, listen::head, observe::Observer, state::State,
    upstream::timer::Sockets,
};

/// An HTTP/2 connection without a request is closed after this long.
const H2_IDLE: std::time::Duration = std::time::Duration::from_secs(60);
/// Streams of one HTTP/2 connection.
const H2_STREAMS: u32 = 128;
/// What a client may send ahead on one stream, and on all of a connection.
const H2_STREAM_WINDOW: u32 = 256 << 10;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// Idle connections to instances that are kept.
const KEPT_UPSTREAM: usize = 4096;
/// Pingora's own bound on attempts. Ours is lower for those that broke; of those that were refused there may be as many
/// as a service has instances and regions, for a node that is gone takes them all at once.
const MAX_TRIES: usize = 2 * REPLICAS_MAX as usize;

/// The edge as Pingora sees it.
pub struct Edge {
    state: Arc<State>,
    observer: Arc<Observer>,
    links: Arc<Links>,
    sockets: Arc<Sockets>,
    drain: Drain,
}

/// Pingora with our phases and safe limits.
#[must_use]
pub fn http_proxy(
    state: Arc<State>,
    observer: Arc<Observer>,
    links: Arc<Links>,
    drain: Drain,
) -> Arc<HttpProxy<Edge>> {
    let conf = ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        upstream_keepalive_pool_size: KEPT_UPSTREAM,
        max_retries: MAX_TRIES,
        ..ServerConf::default()
    };
    let edge = Edge {
        state,
        observer,
        links,
        sockets: Arc::default(),
        drain,
    };
    let mut proxy = HttpProxy::new(edge, Arc::new(conf));
    proxy.handle_init_modules();
    let mut h2 = default_h2_options();
    h2.max_header_list_size(u32::try_from(head::MAX_BYTES).unwrap_or(u32::MAX));
    h2.max_concurrent_streams(H2_STREAMS);
    h2.initial_window_size(H2_STREAM_WINDOW);
    h2.initial_connection_window_size(H2_CONNECTION_WINDOW);
    proxy.h2_options = Some(h2);
    let mut options = pingora::apps::HttpServerOptions::default();
    options.h2_idle_timeout = Some(H2_IDLE);
    proxy.server_options = Some(options);
    Arc::new(proxy)
}
