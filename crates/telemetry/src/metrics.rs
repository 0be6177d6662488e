//! The endpoint for operators on a plain HTTP listener: `/metrics` for Prometheus, `/healthz` (the
//! process answers) and `/readyz` (it can do its work; otherwise 503 with the reason).

use std::{net::SocketAddr, sync::Arc, sync::OnceLock};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder, process_collector::ProcessCollector};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::BuildInfo;

type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Why the endpoint can't be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics can't be served on {address}: {source}; choose another listen_metrics")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

/// The process's metrics; every module registers its own here, once.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::new();
        if let Err(error) = register_process(&registry) {
            tracing::error!(%error, "the process's own metrics are missing from /metrics");
        }
        registry
    })
}

fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    let opts = Opts::new("railhead_build_info", "Which build this is; always 1.");
    let build = BuildInfo::current();
    let gauge = IntGaugeVec::new(opts, &["version", "commit"])?;
    gauge
        .with_label_values(&[build.version, build.commit.unwrap_or("unknown")])
        .set(1);
    registry.register(Box::new(gauge))?;
    registry.register(Box::new(ProcessCollector::for_self()))
}

/// Serves until the process ends; answers the address, for a listener with port 0.
///
/// # Errors
/// When the address can't be listened on.
pub async fn serve(
    address: SocketAddr,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<SocketAddr, Error> {
    let failed = |source| Error { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    serve_at(listener, ready);
    Ok(bound)
}

/// Serves at a bound listener until the process ends, or the task is ended.
pub fn serve_at(
    listener: TcpListener,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router(Arc::new(ready))).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    })
}

fn router(ready: Ready) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(ready)
}

async fn metrics() -> axum::response::Response {
    match TextEncoder::new().encode_to_string(&registry().gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics can't be encoded: {error}\n"),
        )
            .into_response(),
    }
}

async fn readiness(State(ready): State<Ready>) -> (StatusCode, String) {
    match ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
