//! The public API over HTTP: `/v1`. Handlers only translate; what is allowed and what happens is in
//! [`crate::app`].

mod answer;
mod api_token;
mod archive;
mod audit_event;
mod deletion;
mod deploy_key;
mod deployment;
mod domain;
mod environment;
mod error;
mod event;
mod extract;
mod instance;
mod join_token;
mod log;
pub mod middleware;
mod node;
pub mod openapi;
mod organization;
mod orphan;
mod parameters;
mod platform;
mod project;
mod region;
mod registry;
mod release;
mod rollout;
mod service;
mod session;
mod user;
mod variable;
mod version;

use std::sync::Arc;

use axum::{Extension, Router};
use proxy_protocol::TrustedProxies;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{State, ca::ServerCertificate, listen};

use middleware::{Bodies, Door, Layer, Operations};

pub use error::Failure;

/// Every route, and the document that describes them.
fn routes() -> (Router<State>, OpenApi) {
    let (router, mut document) = OpenApiRouter::new()
        .merge(session::routes())
        .merge(organization::routes())
        .merge(user::routes())
        .merge(project::routes())
        .merge(environment::routes())
        .merge(deploy_key::routes())
        .merge(service::routes())
        .merge(variable::routes())
        .merge(archive::routes())
        .merge(deployment::routes())
        .merge(log::routes())
        .merge(release::routes())
        .merge(instance::routes())
        .merge(domain::routes())
        .merge(region::routes())
        .merge(node::routes())
        .merge(platform::routes())
        .merge(deletion::routes())
        .merge(orphan::routes())
        .merge(rollout::routes())
        .merge(join_token::routes())
        .merge(api_token::routes())
        .merge(event::routes())
        .merge(audit_event::routes())
        .merge(registry::routes())
        .merge(version::routes())
        .split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// The OpenAPI document, as it is checked in and served.
///
/// # Errors
/// When it can't be written as JSON.
pub fn document() -> Result<String, serde_json::Error> {
    let (_, document) = routes();
    Ok(document.to_pretty_json()? + "\n")
}

/// Serves the public API over TLS until the shutdown.
///
/// # Errors
/// When the listener's certificate can't be made.
pub async fn serve(state: State, listener: TcpListener) -> anyhow::Result<()> {
    let host = state.config.public_url.host_str().unwrap_or_default();
    let mut names = vec![host.trim_matches(['[', ']']).to_owned()];
    names.extend(
        listener
            .local_addr()
            .ok()
            .map(|address| address.ip().to_string()),
    );
    names.dedup();
    let certificate = ServerCertificate::issue(Arc::clone(&state.keys.authority), names)?;
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let shutdown = state.shutdown.clone();
    let proxies = TrustedProxies::new(&state.config.trusted_proxies);
    let door = Door::default();
    let routes = listen::Routes {
        router: router(state, &door)?,
        before: move |request: &http::Request<_>| door.turn_away(request),
    };
    listen::serve(listener, Arc::new(tls), proxies, routes, shutdown).await;
    Ok(())
}

/// The public API, behind this door.
///
/// # Errors
/// When its document can't be written.
fn router(state: State, door: &Door) -> anyhow::Result<Router> {
    let (router, document) = routes();
    let layer = Layer {
        operations: Operations::of(&document),
        state: state.clone(),
        gate: Arc::clone(&door.0),
        bodies: Arc::new(Bodies::new(state.config.limits.body)?),
    };
    let text = version::Document(Arc::from(document.to_pretty_json()? + "\n"));
    Ok(router
        .fallback(|| async { http::StatusCode::NOT_FOUND })
        .layer(Extension(text))
        .layer(axum::middleware::from_fn_with_state(
            layer,
            middleware::layer,
        ))
        .with_state(state))
}
