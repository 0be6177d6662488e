//! Variables of services, and shared ones of environments.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    page::Page,
    variable::{SetVariable, Variable},
};
use domain::{
    id::{EnvironmentId, ServiceId},
    name::VariableName,
};

use crate::{
    State,
    app::{self, Context, variable::Of},
};

use super::{
    answer::{Result, Tagged},
    extract::{Json, OptionalIfMatch, Path},
    parameters,
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list_of_service))
        .routes(routes!(set_of_service, delete_of_service))
        .routes(routes!(list_of_environment))
        .routes(routes!(set_of_environment, delete_of_environment))
}

/// The variables of a service. The look at their values is written to the audit log.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}/variables",
    operation_id = "variable.list",
    tag = "variable",
    params(("service_id" = ServiceId, Path)),
    responses((status = 200, description = "All of them.", body = Page<Variable>)),
)]
async fn list_of_service(
    context: Context,
    Path(id): Path<ServiceId>,
) -> Result<Json<Page<Variable>>> {
    Ok(Json(app::variable::list(&context, Of::Service(id)).await?))
}

/// Sets a variable of a service.
#[utoipa::path(
    put,
    path = "/v1/services/{service_id}/variables/{name}",
    operation_id = "variable.set",
    tag = "variable",
    params(("service_id" = ServiceId, Path), ("name" = VariableName, Path), parameters::OptionalIfMatch),
    request_body = SetVariable,
    responses((status = 200, description = "It was set.", body = Variable)),
)]
async fn set_of_service(
    context: Context,
    Path((id, name)): Path<(ServiceId, VariableName)>,
    OptionalIfMatch(expected): OptionalIfMatch,
    Json(request): Json<SetVariable>,
) -> Result<Tagged<Variable>> {
    let variable = app::variable::set(&context, Of::Service(id), name, expected, request).await?;
    Ok(Tagged(variable))
}

/// Deletes a variable of a service.
#[utoipa::path(
    delete,
    path = "/v1/services/{service_id}/variables/{name}",
    operation_id = "variable.delete",
    tag = "variable",
    params(("service_id" = ServiceId, Path), ("name" = VariableName, Path), parameters::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete_of_service(
    context: Context,
    Path((id, name)): Path<(ServiceId, VariableName)>,
    OptionalIfMatch(expected): OptionalIfMatch,
) -> Result<StatusCode> {
    app::variable::delete(&context, Of::Service(id), name, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The variables of an environment. The look at their values is written to the audit log.
#[utoipa::path(
    get,
    path = "/v1/environments/{environment_id}/variables",
    operation_id = "shared_variable.list",
    tag = "variable",
    params(("environment_id" = EnvironmentId, Path)),
    responses((status = 200, description = "All of them.", body = Page<Variable>)),
)]
async fn list_of_environment(
    context: Context,
    Path(id): Path<EnvironmentId>,
) -> Result<Json<Page<Variable>>> {
    Ok(Json(
        app::variable::list(&context, Of::Environment(id)).await?,
    ))
}

/// Sets a variable of an environment.
#[utoipa::path(
    put,
    path = "/v1/environments/{environment_id}/variables/{name}",
    operation_id = "shared_variable.set",
    tag = "variable",
    params(("environment_id" = EnvironmentId, Path), ("name" = VariableName, Path), parameters::OptionalIfMatch),
    request_body = SetVariable,
    responses((status = 200, description = "It was set.", body = Variable)),
)]
async fn set_of_environment(
    context: Context,
    Path((id, name)): Path<(EnvironmentId, VariableName)>,
    OptionalIfMatch(expected): OptionalIfMatch,
    Json(request): Json<SetVariable>,
) -> Result<Tagged<Variable>> {
    let variable =
        app::variable::set(&context, Of::Environment(id), name, expected, request).await?;
    Ok(Tagged(variable))
}

/// Deletes a variable of an environment.
#[utoipa::path(
    delete,
    path = "/v1/environments/{environment_id}/variables/{name}",
    operation_id = "shared_variable.delete",
    tag = "variable",
    params(("environment_id" = EnvironmentId, Path), ("name" = VariableName, Path), parameters::OptionalIfMatch),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete_of_environment(
    context: Context,
    Path((id, name)): Path<(EnvironmentId, VariableName)>,
    OptionalIfMatch(expected): OptionalIfMatch,
) -> Result<StatusCode> {
    app::variable::delete(&context, Of::Environment(id), name, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}
