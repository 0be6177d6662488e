//! `/v1/services/{service_id}/archives`: uploads.

use axum::extract::Request;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::archive::Archive;
use domain::id::ServiceId;

use crate::{
    State,
    app::{self, Context},
};

use super::{
    answer::{Created, Result},
    extract::Path,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Uploads a working tree, to be built by a deployment.
#[utoipa::path(
    post,
    path = "/v1/services/{service_id}/archives",
    operation_id = "archive.create",
    tag = "archive",
    params(("service_id" = ServiceId, Path)),
    request_body(content = Vec<u8>, description = "A .tar.gz.", content_type = "application/gzip"),
    responses((status = 201, description = "It was stored.", body = Archive)),
)]
async fn create(
    context: Context,
    Path(service): Path<ServiceId>,
    request: Request,
) -> Result<Created<Archive>> {
    let body = request.into_body().into_data_stream();
    Ok(Created(
        app::archive::create(&context, service, body).await?,
    ))
}
