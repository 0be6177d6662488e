//! `/v1/deploy-keys`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    deploy_key::{CreateDeployKey, DeployKey},
    page::{Page, PageQuery},
};
use domain::id::{DeployKeyId, ProjectId};

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::{Created, Result},
    extract::{Create, Json, Path},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(delete))
}

/// The deploy keys of a project.
#[utoipa::path(
    get,
    path = "/v1/projects/{project_id}/deploy-keys",
    operation_id = "deploy_key.list",
    tag = "deploy_key",
    params(("project_id" = ProjectId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<DeployKey>)),
)]
async fn list(
    context: Context,
    Path(project): Path<ProjectId>,
    paging: Paging,
) -> Result<Json<Page<DeployKey>>> {
    Ok(Json(
        app::deploy_key::list(&context, project, paging).await?,
    ))
}

/// Makes a deploy key; the public half is shown.
#[utoipa::path(
    post,
    path = "/v1/projects/{project_id}/deploy-keys",
    operation_id = "deploy_key.create",
    tag = "deploy_key",
    params(("project_id" = ProjectId, Path), parameters::IdempotencyKey),
    request_body = CreateDeployKey,
    responses((status = 201, description = "It was made.", body = DeployKey)),
)]
async fn create(
    Path(project): Path<ProjectId>,
    Create(context, request): Create<CreateDeployKey>,
) -> Result<Created<DeployKey>> {
    Ok(Created(
        app::deploy_key::create(&context, project, request).await?,
    ))
}

/// Deletes a deploy key.
#[utoipa::path(
    delete,
    path = "/v1/deploy-keys/{deploy_key_id}",
    operation_id = "deploy_key.delete",
    tag = "deploy_key",
    params(("deploy_key_id" = DeployKeyId, Path)),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(context: Context, Path(id): Path<DeployKeyId>) -> Result<StatusCode> {
    app::deploy_key::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
