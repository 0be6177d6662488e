//! `/v1/platform/status`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::platform::PlatformStatus;

use crate::{
    State,
    app::{self, Context},
};

use super::{answer::Result, extract::Json};

/// Its route.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(status))
}

/// How the platform itself fares: what is wrong, what to do, and what that was read from.
#[utoipa::path(
    get,
    path = "/v1/platform/status",
    operation_id = "platform.status",
    tag = "platform",
    responses((status = 200, description = "As it is now.", body = PlatformStatus)),
)]
async fn status(context: Context) -> Result<Json<PlatformStatus>> {
    Ok(Json(app::platform::status(&context).await?))
}
