//! `/v1/services`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    page::{Page, PageQuery},
    service::{CreateService, ScaleService, Service, UpdateService},
};
use domain::id::{EnvironmentId, ServiceId};

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
        .routes(routes!(scale))
        .routes(routes!(down))
}

/// The services of an environment.
#[utoipa::path(
    get,
    path = "/v1/environments/{environment_id}/services",
    operation_id = "service.list",
    tag = "service",
    params(("environment_id" = EnvironmentId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Service>)),
)]
async fn list(
    context: Context,
    Path(environment): Path<EnvironmentId>,
    paging: Paging,
) -> Result<Json<Page<Service>>> {
    Ok(Json(
        app::service::list(&context, environment, paging).await?,
    ))
}

/// Makes a service. Nothing runs before its first deployment.
#[utoipa::path(
    post,
    path = "/v1/environments/{environment_id}/services",
    operation_id = "service.create",
    tag = "service",
    params(("environment_id" = EnvironmentId, Path), parameters::IdempotencyKey),
    request_body = CreateService,
    responses((status = 201, description = "It was made.", body = Service)),
)]
async fn create(
    Path(environment): Path<EnvironmentId>,
    Create(context, request): Create<CreateService>,
) -> Result<CreatedTagged<Service>> {
    Ok(CreatedTagged(
        app::service::create(&context, environment, request).await?,
    ))
}

/// One service, with what is seen of it.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}",
    operation_id = "service.get",
    tag = "service",
    params(("service_id" = ServiceId, Path)),
    responses((status = 200, description = "It.", body = Service)),
)]
async fn get(context: Context, Path(id): Path<ServiceId>) -> Result<Tagged<Service>> {
    Ok(Tagged(app::service::get(&context, id).await?))
}

/// Replaces a service's specification.
#[utoipa::path(
    patch,
    path = "/v1/services/{service_id}",
    operation_id = "service.update",
    tag = "service",
    params(("service_id" = ServiceId, Path), parameters::IfMatch),
    request_body = UpdateService,
    responses((status = 200, description = "It was changed.", body = Service)),
)]
async fn update(
    context: Context,
    Path(id): Path<ServiceId>,
    IfMatch(expected): IfMatch,
    Json(request): Json<UpdateService>,
) -> Result<Tagged<Service>> {
    Ok(Tagged(
        app::service::update(&context, id, expected, request).await?,
    ))
}

/// Deletes a service and all that runs of it.
#[utoipa::path(
    delete,
    path = "/v1/services/{service_id}",
    operation_id = "service.delete",
    tag = "service",
    params(("service_id" = ServiceId, Path), parameters::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(
    context: Context,
    Path(id): Path<ServiceId>,
    expected: OptionalIfMatch,
) -> Result<StatusCode> {
    app::service::delete(&context, id, expected.or_any()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes how many instances run, at once.
#[utoipa::path(
    put,
    path = "/v1/services/{service_id}/scale",
    operation_id = "service.scale",
    tag = "service",
    params(("service_id" = ServiceId, Path)),
    request_body = ScaleService,
    responses((status = 200, description = "It was scaled.", body = Service)),
)]
async fn scale(
    context: Context,
    Path(id): Path<ServiceId>,
    Json(request): Json<ScaleService>,
) -> Result<Tagged<Service>> {
    Ok(Tagged(app::service::scale(&context, id, request).await?))
}

/// Stops a service until its next deployment.
#[utoipa::path(
    post,
    path = "/v1/services/{service_id}/down",
    operation_id = "service.down",
    tag = "service",
    params(("service_id" = ServiceId, Path)),
    responses((status = 200, description = "Nothing of it shall run.", body = Service)),
)]
async fn down(context: Context, Path(id): Path<ServiceId>) -> Result<Tagged<Service>> {
    Ok(Tagged(app::service::down(&context, id).await?))
}
