//! The node API: nodes dial in over HTTP/2 with mTLS, follow feeds and report what they see. Any
//! replica serves any node; nothing is kept between two requests.

mod admission;
mod archive;
mod desired;
mod error;
mod guard;
mod join;
mod join_token;
mod logs;
mod peer;
mod registry;
mod report;
mod tls;

pub use error::Error;
pub use peer::Node;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use proxy_protocol::TrustedProxies;
use tokio::{net::TcpListener, sync::watch};

use self::admission::Admission;
use crate::{State, ca::ServerCertificate, feed::heads, listen};

/// Reports of a node with many instances are long; nothing is longer.
const BODY_MAX: usize = 8 << 20;

/// Every route of the node API.
pub fn router(state: State, heads: heads::Newest) -> Router {
    Router::new()
        .route("/node/v1/join", post(join::join))
        .route("/node/v1/join-token", post(join_token::look_up))
        .route("/node/v1/renew", post(join::renew))
        .route("/node/v1/desired", get(desired::desired))
        .route("/node/v1/report", post(report::report))
        .route("/node/v1/archives/{id}", get(archive::archive))
        .route("/node/v1/logs", post(logs::logs))
        .route("/node/v1/registry-token", post(registry::token))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(Extension(Arc::new(Admission::default())))
        .layer(Extension(heads))
        .with_state(state)
}

/// Serves the node API until the shutdown.
///
/// # Errors
/// When the listener's certificate can't be made.
pub async fn serve(state: State, listener: TcpListener) -> anyhow::Result<()> {
    let authority = Arc::clone(&state.keys.authority);
    let host = state.config.node_url.host_str().unwrap_or_default();
    let mut names = vec![host.trim_matches(['[', ']']).to_owned()];
    let address = listener.local_addr()?.ip();
    if !address.is_unspecified() {
        names.push(address.to_string());
    }
    names.dedup();
    let certificate = ServerCertificate::issue(Arc::clone(&authority), names)?;
    let tls = tls::server_config(&authority, certificate)?;
    let shutdown = state.shutdown.clone();
    let proxies = TrustedProxies::new(&state.config.trusted_proxies);
    let (sender, newest) = watch::channel(None);
    let reading = heads::run(state.clone(), sender);
    let routes = listen::Routes {
        router: router(state, newest),
        before: |_: &http::Request<_>| None,
    };
    let serving = listen::serve(listener, Arc::new(tls), proxies, routes, shutdown);
    tokio::join!(serving, reading);
    Ok(())
}
