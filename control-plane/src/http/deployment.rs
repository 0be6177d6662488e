//! `/v1/deployments`.

use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    deployment::{CreateDeployment, Deployment},
    page::{Page, PageQuery},
};
use domain::id::{DeploymentId, ServiceId};

use crate::{
    State,
    app::{self, Context},
    store::page::Paging,
};

use super::{
    answer::{CreatedTagged, Result, Tagged},
    extract::{Create, Json, Path},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(cancel))
}

/// The deployments of a service, newest first.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}/deployments",
    operation_id = "deployment.list",
    tag = "deployment",
    params(("service_id" = ServiceId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Deployment>)),
)]
async fn list(
    context: Context,
    Path(service): Path<ServiceId>,
    paging: Paging,
) -> Result<Json<Page<Deployment>>> {
    Ok(Json(
        app::deployment::list(&context, service, paging).await?,
    ))
}

/// Deploys, redeploys or rolls back.
#[utoipa::path(
    post,
    path = "/v1/services/{service_id}/deployments",
    operation_id = "deployment.create",
    tag = "deployment",
    params(("service_id" = ServiceId, Path), parameters::IdempotencyKey),
    request_body = CreateDeployment,
    responses((status = 201, description = "It was made.", body = Deployment)),
)]
async fn create(
    Path(service): Path<ServiceId>,
    Create(context, request): Create<CreateDeployment>,
) -> Result<CreatedTagged<Deployment>> {
    Ok(CreatedTagged(
        app::deployment::create(&context, service, request).await?,
    ))
}

/// One deployment, with how far it is.
#[utoipa::path(
    get,
    path = "/v1/deployments/{deployment_id}",
    operation_id = "deployment.get",
    tag = "deployment",
    params(("deployment_id" = DeploymentId, Path)),
    responses((status = 200, description = "It.", body = Deployment)),
)]
async fn get(context: Context, Path(id): Path<DeploymentId>) -> Result<Tagged<Deployment>> {
    Ok(Tagged(app::deployment::get(&context, id).await?))
}

/// Cancels a deployment; what served before serves on.
#[utoipa::path(
    post,
    path = "/v1/deployments/{deployment_id}/cancel",
    operation_id = "deployment.cancel",
    tag = "deployment",
    params(("deployment_id" = DeploymentId, Path)),
    responses((status = 200, description = "It was asked to end.", body = Deployment)),
)]
async fn cancel(context: Context, Path(id): Path<DeploymentId>) -> Result<Tagged<Deployment>> {
    Ok(Tagged(app::deployment::cancel(&context, id).await?))
}
