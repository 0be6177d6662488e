//! `/v1/organizations`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    organization::{CreateOrganization, Organization, UpdateOrganization},
    page::{Page, PageQuery},
};
use domain::id::OrganizationId;

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::{CreatedTagged, Result, Tagged},
    extract::{Create, IfMatch, Json, OptionalIfMatch, Path},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
}

/// The organizations that the caller is a member of.
#[utoipa::path(
    get,
    path = "/v1/organizations",
    operation_id = "organization.list",
    tag = "organization",
    params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<Organization>)),
)]
async fn list(context: Context, paging: Paging) -> Result<Json<Page<Organization>>> {
    Ok(Json(app::organization::list(&context, paging).await?))
}

/// Makes an organization.
#[utoipa::path(
    post,
    path = "/v1/organizations",
    operation_id = "organization.create",
    tag = "organization",
    params(parameters::IdempotencyKey),
    request_body = CreateOrganization,
    responses((status = 201, description = "It was made.", body = Organization)),
)]
async fn create(
    Create(context, request): Create<CreateOrganization>,
) -> Result<CreatedTagged<Organization>> {
    Ok(CreatedTagged(
        app::organization::create(&context, request).await?,
    ))
}

/// One organization.
#[utoipa::path(
    get,
    path = "/v1/organizations/{organization_id}",
    operation_id = "organization.get",
    tag = "organization",
    params(("organization_id" = OrganizationId, Path)),
    responses((status = 200, description = "It.", body = Organization)),
)]
async fn get(context: Context, Path(id): Path<OrganizationId>) -> Result<Tagged<Organization>> {
    Ok(Tagged(app::organization::get(&context, id).await?))
}

/// Renames an organization.
#[utoipa::path(
    patch,
    path = "/v1/organizations/{organization_id}",
    operation_id = "organization.update",
    tag = "organization",
    params(("organization_id" = OrganizationId, Path), parameters::IfMatch),
    request_body = UpdateOrganization,
    responses((status = 200, description = "It was changed.", body = Organization)),
)]
async fn update(
    context: Context,
    Path(id): Path<OrganizationId>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateOrganization>,
) -> Result<Tagged<Organization>> {
    Ok(Tagged(
        app::organization::update(&context, id, expected, request).await?,
    ))
}

/// Deletes an organization without projects.
#[utoipa::path(
    delete,
    path = "/v1/organizations/{organization_id}",
    operation_id = "organization.delete",
    tag = "organization",
    params(("organization_id" = OrganizationId, Path), parameters::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(
    context: Context,
    Path(id): Path<OrganizationId>,
    expected: OptionalIfMatch,
) -> Result<StatusCode> {
    app::organization::delete(&context, id, expected.or_any()).await?;
    Ok(StatusCode::NO_CONTENT)
}
