//! `/v1/organizations/{organization_id}/deletions`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    deletion::Deletion,
    page::{Page, PageQuery},
};
use domain::id::OrganizationId;

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

/// What was deleted and is not wholly gone yet, and what that waits for.
#[utoipa::path(
    get,
    path = "/v1/organizations/{organization_id}/deletions",
    operation_id = "deletion.list",
    tag = "deletion",
    params(("organization_id" = OrganizationId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Deletion>)),
)]
async fn list(
    context: Context,
    Path(organization): Path<OrganizationId>,
    paging: Paging,
) -> Result<Json<Page<Deletion>>> {
    Ok(Json(
        app::deletion::list(&context, organization, paging).await?,
    ))
}
