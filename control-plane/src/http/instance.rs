//! `/v1/services/{service_id}/instances`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    instance::Instance,
    page::{Page, PageQuery},
};
use domain::id::ServiceId;

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
    OpenApiRouter::new().routes(routes!(list))
}

/// The instances of a service, newest first.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}/instances",
    operation_id = "instance.list",
    tag = "instance",
    params(("service_id" = ServiceId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Instance>)),
)]
async fn list(
    context: Context,
    Path(service): Path<ServiceId>,
    paging: Paging,
) -> Result<Json<Page<Instance>>> {
    Ok(Json(app::instance::list(&context, service, paging).await?))
}
