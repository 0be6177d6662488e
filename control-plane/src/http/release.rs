//! `/v1/releases`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    page::{Page, PageQuery},
    release::Release,
};
use domain::id::{ReleaseId, ServiceId};

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::Result,
    extract::{Json, Path},
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
}

/// The releases of a service, newest first.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}/releases",
    operation_id = "release.list",
    tag = "release",
    params(("service_id" = ServiceId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Release>)),
)]
async fn list(
    context: Context,
    Path(service): Path<ServiceId>,
    paging: Paging,
) -> Result<Json<Page<Release>>> {
    Ok(Json(app::release::list(&context, service, paging).await?))
}

/// One release.
#[utoipa::path(
    get,
    path = "/v1/releases/{release_id}",
    operation_id = "release.get",
    tag = "release",
    params(("release_id" = ReleaseId, Path)),
    responses((status = 200, description = "It.", body = Release)),
)]
async fn get(context: Context, Path(id): Path<ReleaseId>) -> Result<Json<Release>> {
    Ok(Json(app::release::get(&context, id).await?))
}
