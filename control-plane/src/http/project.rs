//! `/v1/projects`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    page::{Page, PageQuery},
    project::{CreateProject, Project, UpdateProject},
};
use domain::id::{OrganizationId, ProjectId};

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

/// The projects of an organization.
#[utoipa::path(
    get,
    path = "/v1/organizations/{organization_id}/projects",
    operation_id = "project.list",
    tag = "project",
    params(("organization_id" = OrganizationId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Project>)),
)]
async fn list(
    context: Context,
    Path(organization): Path<OrganizationId>,
    paging: Paging,
) -> Result<Json<Page<Project>>> {
    Ok(Json(
        app::project::list(&context, organization, paging).await?,
    ))
}

/// Makes a project with an environment called production.
#[utoipa::path(
    post,
    path = "/v1/organizations/{organization_id}/projects",
    operation_id = "project.create",
    tag = "project",
    params(("organization_id" = OrganizationId, Path), parameters::IdempotencyKey),
    request_body = CreateProject,
    responses((status = 201, description = "It was made.", body = Project)),
)]
async fn create(
    Path(organization): Path<OrganizationId>,
    Create(context, request): Create<CreateProject>,
) -> Result<CreatedTagged<Project>> {
    Ok(CreatedTagged(
        app::project::create(&context, organization, request).await?,
    ))
}

/// One project.
#[utoipa::path(
    get,
    path = "/v1/projects/{project_id}",
    operation_id = "project.get",
    tag = "project",
    params(("project_id" = ProjectId, Path)),
    responses((status = 200, description = "It.", body = Project)),
)]
async fn get(context: Context, Path(id): Path<ProjectId>) -> Result<Tagged<Project>> {
    Ok(Tagged(app::project::get(&context, id).await?))
}

/// Renames a project.
#[utoipa::path(
    patch,
    path = "/v1/projects/{project_id}",
    operation_id = "project.update",
    tag = "project",
    params(("project_id" = ProjectId, Path), parameters::IfMatch),
    request_body = UpdateProject,
    responses((status = 200, description = "It was changed.", body = Project)),
)]
async fn update(
    context: Context,
    Path(id): Path<ProjectId>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateProject>,
) -> Result<Tagged<Project>> {
    Ok(Tagged(
        app::project::update(&context, id, expected, request).await?,
    ))
}

/// Deletes a project and all in it.
#[utoipa::path(
    delete,
    path = "/v1/projects/{project_id}",
    operation_id = "project.delete",
    tag = "project",
    params(("project_id" = ProjectId, Path), parameters::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(
    context: Context,
    Path(id): Path<ProjectId>,
    expected: OptionalIfMatch,
) -> Result<StatusCode> {
    app::project::delete(&context, id, expected.or_any()).await?;
    Ok(StatusCode::NO_CONTENT)
}
