//! `/v1/orphans`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    orphan::Orphan,
    page::{Page, PageQuery},
};
use domain::id::InstanceId;

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
        .routes(routes!(delete))
}

/// Instances that nodes run on although the plan does not know them.
#[utoipa::path(
    get,
    path = "/v1/orphans",
    operation_id = "orphan.list",
    tag = "orphan",
    params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<Orphan>)),
)]
async fn list(context: Context, paging: Paging) -> Result<Json<Page<Orphan>>> {
    Ok(Json(app::orphan::list(&context, paging).await?))
}

/// Lets one go: its node ends it.
#[utoipa::path(
    delete,
    path = "/v1/orphans/{instance_id}",
    operation_id = "orphan.delete",
    tag = "orphan",
    params(("instance_id" = InstanceId, Path)),
    responses((status = 204, description = "Its node is told.")),
)]
async fn delete(context: Context, Path(id): Path<InstanceId>) -> Result<StatusCode> {
    app::orphan::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
