//! `/v1/domains`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    domain::{CreateDomain, Domain, SetDomainCertificate},
    page::{Page, PageQuery},
};
use domain::id::{DomainId, ServiceId};

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
        .routes(routes!(set_certificate, delete_certificate))
}

/// The hostnames of a service.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}/domains",
    operation_id = "domain.list",
    tag = "domain",
    params(("service_id" = ServiceId, Path), PageQuery),
    responses((status = 200, description = "A page.", body = Page<Domain>)),
)]
async fn list(
    context: Context,
    Path(service): Path<ServiceId>,
    paging: Paging,
) -> Result<Json<Page<Domain>>> {
    Ok(Json(app::domain::list(&context, service, paging).await?))
}

/// Adds a hostname to a service.
#[utoipa::path(
    post,
    path = "/v1/services/{service_id}/domains",
    operation_id = "domain.create",
    tag = "domain",
    params(("service_id" = ServiceId, Path), parameters::IdempotencyKey),
    request_body = CreateDomain,
    responses((status = 201, description = "It was made.", body = Domain)),
)]
async fn create(
    Path(service): Path<ServiceId>,
    Create(context, request): Create<CreateDomain>,
) -> Result<Created<Domain>> {
    Ok(Created(
        app::domain::create(&context, service, request).await?,
    ))
}

/// Removes a hostname.
#[utoipa::path(
    delete,
    path = "/v1/domains/{domain_id}",
    operation_id = "domain.delete",
    tag = "domain",
    params(("domain_id" = DomainId, Path)),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(context: Context, Path(id): Path<DomainId>) -> Result<StatusCode> {
    app::domain::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Serves a hostname with a certificate of one's own, until another one takes its place: it is not renewed by itself.
#[utoipa::path(
    put,
    path = "/v1/domains/{domain_id}/certificate",
    operation_id = "domain_certificate.set",
    tag = "domain",
    params(("domain_id" = DomainId, Path)),
    request_body = SetDomainCertificate,
    responses((status = 200, description = "It is on its way to the edges.", body = Domain)),
)]
async fn set_certificate(
    context: Context,
    Path(id): Path<DomainId>,
    Json(request): Json<SetDomainCertificate>,
) -> Result<Json<Domain>> {
    let set = app::domain_certificate::set(&context, id, request).await?;
    Ok(Json(set))
}

/// Goes back to a certificate that comes by itself. The one of one's own serves until that has come.
#[utoipa::path(
    delete,
    path = "/v1/domains/{domain_id}/certificate",
    operation_id = "domain_certificate.delete",
    tag = "domain",
    params(("domain_id" = DomainId, Path)),
    responses((status = 204, description = "Another one is on order.")),
)]
async fn delete_certificate(context: Context, Path(id): Path<DomainId>) -> Result<StatusCode> {
    app::domain_certificate::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
