//! `/v1/rollout`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::rollout::{DecideRollout, Rollout};

use crate::{
    State,
    app::{self, Context},
};

use super::{answer::Result, extract::Json};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .routes(routes!(stop))
        .routes(routes!(resume))
}

/// How far a change that the platform makes by itself has come, ring by ring.
#[utoipa::path(
    get,
    path = "/v1/rollout",
    operation_id = "rollout.get",
    tag = "rollout",
    responses((status = 200, description = "It.", body = Rollout)),
)]
async fn get(context: Context) -> Result<Json<Rollout>> {
    Ok(Json(app::rollout::get(&context).await?))
}

/// Stops it and takes the rings back to the version before.
#[utoipa::path(
    post,
    path = "/v1/rollout/stop",
    operation_id = "rollout.stop",
    tag = "rollout",
    request_body = DecideRollout,
    responses((status = 200, description = "The rings go back now.", body = Rollout)),
)]
async fn stop(context: Context, Json(request): Json<DecideRollout>) -> Result<Json<Rollout>> {
    Ok(Json(app::rollout::stop(&context, request).await?))
}

/// Begins a stopped one again, with the first ring.
#[utoipa::path(
    post,
    path = "/v1/rollout/resume",
    operation_id = "rollout.resume",
    tag = "rollout",
    request_body = DecideRollout,
    responses((status = 200, description = "It goes on.", body = Rollout)),
)]
async fn resume(context: Context, Json(request): Json<DecideRollout>) -> Result<Json<Rollout>> {
    Ok(Json(app::rollout::resume(&context, request).await?))
}
