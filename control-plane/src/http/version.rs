//! `/v1/version` and `/v1/openapi.json`: what answers, and what it takes.

use std::sync::Arc;

use axum::{Extension, Json, extract::State as Shared};
use utoipa_axum::{router::OpenApiRouter, routes};

use api::version::Version;

use crate::State;

/// The OpenAPI document, as text.
#[derive(Clone)]
pub struct Document(pub Arc<str>);

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(openapi))
}

/// What answers.
#[utoipa::path(
    get,
    path = "/v1/version",
    operation_id = "version.get",
    tag = "version",
    responses((status = 200, description = "The control plane's version.", body = Version)),
)]
async fn version(Shared(state): Shared<State>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: protocol::PROTOCOL,
        platform_domain: state.config.platform_domain.clone(),
    })
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "openapi.get",
    tag = "version",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)),
)]
async fn openapi(
    Extension(document): Extension<Document>,
) -> ([(&'static str, &'static str); 1], String) {
    (
        [("content-type", "application/json")],
        document.0.to_string(),
    )
}
