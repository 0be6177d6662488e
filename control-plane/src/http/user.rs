//! `/v1/organizations/{organization_id}/users`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    page::{Page, PageQuery},
    user::{CreateMember, Member, UpdateMember},
};
use domain::id::{OrganizationId, UserId};

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::{CreatedTagged, Result, Tagged},
    extract::{Create, IfMatch, Json, Path},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update, delete))
}

/// The members of an organization.
#[utoipa::path(
    get,
    path = "/v1/organizations/{organization_id}/users",
    operation_id = "user.list",
    tag = "user",
    params(("organization_id" = OrganizationId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Member>)),
)]
async fn list(
    context: Context,
    Path(organization): Path<OrganizationId>,
    paging: Paging,
) -> Result<Json<Page<Member>>> {
    Ok(Json(app::user::list(&context, organization, paging).await?))
}

/// Makes a person a member.
#[utoipa::path(
    post,
    path = "/v1/organizations/{organization_id}/users",
    operation_id = "user.create",
    tag = "user",
    params(("organization_id" = OrganizationId, Path), parameters::IdempotencyKey),
    request_body = CreateMember,
    responses((status = 201, description = "It was made.", body = Member)),
)]
async fn create(
    Path(organization): Path<OrganizationId>,
    Create(context, request): Create<CreateMember>,
) -> Result<CreatedTagged<Member>> {
    Ok(CreatedTagged(
        app::user::create(&context, organization, request).await?,
    ))
}

/// Changes a member's role.
#[utoipa::path(
    patch,
    path = "/v1/organizations/{organization_id}/users/{user_id}",
    operation_id = "user.update",
    tag = "user",
    params(("organization_id" = OrganizationId, Path), ("user_id" = UserId, Path), parameters::IfMatch),
    request_body = UpdateMember,
    responses((status = 200, description = "It was changed.", body = Member)),
)]
async fn update(
    context: Context,
    Path((organization, user)): Path<(OrganizationId, UserId)>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateMember>,
) -> Result<Tagged<Member>> {
    let member = app::user::update(&context, organization, user, expected, request).await?;
    Ok(Tagged(member))
}

/// Removes a member.
#[utoipa::path(
    delete,
    path = "/v1/organizations/{organization_id}/users/{user_id}",
    operation_id = "user.delete",
    tag = "user",
    params(("organization_id" = OrganizationId, Path), ("user_id" = UserId, Path)),
    responses((status = 204, description = "The person is no member any more.")),
)]
async fn delete(
    context: Context,
    Path((organization, user)): Path<(OrganizationId, UserId)>,
) -> Result<StatusCode> {
    app::user::delete(&context, organization, user).await?;
    Ok(StatusCode::NO_CONTENT)
}
