//! `/v1/organizations/{organization_id}/audit-events`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    audit_event::AuditEvent,
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

/// An organization's audit log, newest first.
#[utoipa::path(
    get,
    path = "/v1/organizations/{organization_id}/audit-events",
    operation_id = "audit_event.list",
    tag = "audit_event",
    params(("organization_id" = OrganizationId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<AuditEvent>)),
)]
async fn list(
    context: Context,
    Path(organization): Path<OrganizationId>,
    paging: Paging,
) -> Result<Json<Page<AuditEvent>>> {
    Ok(Json(
        app::audit_event::list(&context, organization, paging).await?,
    ))
}
