//! `/v1/environments`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    environment::{CreateEnvironment, Environment, UpdateEnvironment},
    page::{Page, PageQuery},
};
use domain::id::{EnvironmentId, ProjectId};

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

/// The environments of a project.
#[utoipa::path(
    get,
    path = "/v1/projects/{project_id}/environments",
    operation_id = "environment.list",
    tag = "environment",
    params(("project_id" = ProjectId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Environment>)),
)]
async fn list(
    context: Context,
    Path(project): Path<ProjectId>,
    paging: Paging,
) -> Result<Json<Page<Environment>>> {
    Ok(Json(
        app::environment::list(&context, project, paging).await?,
    ))
}

/// Makes an environment.
#[utoipa::path(
    post,
    path = "/v1/projects/{project_id}/environments",
    operation_id = "environment.create",
    tag = "environment",
    params(("project_id" = ProjectId, Path), parameters::IdempotencyKey),
    request_body = CreateEnvironment,
    responses((status = 201, description = "It was made.", body = Environment)),
)]
async fn create(
    Path(project): Path<ProjectId>,
    Create(context, request): Create<CreateEnvironment>,
) -> Result<CreatedTagged<Environment>> {
    Ok(CreatedTagged(
        app::environment::create(&context, project, request).await?,
    ))
}

/// One environment.
#[utoipa::path(
    get,
    path = "/v1/environments/{environment_id}",
    operation_id = "environment.get",
    tag = "environment",
    params(("environment_id" = EnvironmentId, Path)),
    responses((status = 200, description = "It.", body = Environment)),
)]
async fn get(context: Context, Path(id): Path<EnvironmentId>) -> Result<Tagged<Environment>> {
    Ok(Tagged(app::environment::get(&context, id).await?))
}

/// Renames an environment.
#[utoipa::path(
    patch,
    path = "/v1/environments/{environment_id}",
    operation_id = "environment.update",
    tag = "environment",
    params(("environment_id" = EnvironmentId, Path), parameters::IfMatch),
    request_body = UpdateEnvironment,
    responses((status = 200, description = "It was changed.", body = Environment)),
)]
async fn update(
    context: Context,
    Path(id): Path<EnvironmentId>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateEnvironment>,
) -> Result<Tagged<Environment>> {
    Ok(Tagged(
        app::environment::update(&context, id, expected, request).await?,
    ))
}

/// Deletes an environment and all in it.
#[utoipa::path(
    delete,
    path = "/v1/environments/{environment_id}",
    operation_id = "environment.delete",
    tag = "environment",
    params(("environment_id" = EnvironmentId, Path), parameters::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(
    context: Context,
    Path(id): Path<EnvironmentId>,
    expected: OptionalIfMatch,
) -> Result<StatusCode> {
    app::environment::delete(&context, id, expected.or_any()).await?;
    Ok(StatusCode::NO_CONTENT)
}
