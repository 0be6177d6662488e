//! `/v1/api-tokens`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    api_token::{ApiToken, CreateApiToken, CreatedApiToken},
    page::{Page, PageQuery},
};
use domain::id::ApiTokenId;

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

/// The tokens that the caller made.
#[utoipa::path(
    get,
    path = "/v1/api-tokens",
    operation_id = "api_token.list",
    tag = "api_token",
    params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<ApiToken>)),
)]
async fn list(context: Context, paging: Paging) -> Result<Json<Page<ApiToken>>> {
    Ok(Json(app::api_token::list(&context, paging).await?))
}

/// Makes an API token; it is shown once.
#[utoipa::path(
    post,
    path = "/v1/api-tokens",
    operation_id = "api_token.create",
    tag = "api_token",
    params(parameters::IdempotencyKey),
    request_body = CreateApiToken,
    responses((status = 201, description = "It was made.", body = CreatedApiToken)),
)]
async fn create(
    Create(context, request): Create<CreateApiToken>,
) -> Result<Created<CreatedApiToken>> {
    Ok(Created(app::api_token::create(&context, request).await?))
}

/// Revokes an API token, at once.
#[utoipa::path(
    delete,
    path = "/v1/api-tokens/{api_token_id}",
    operation_id = "api_token.delete",
    tag = "api_token",
    params(("api_token_id" = ApiTokenId, Path)),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(context: Context, Path(id): Path<ApiTokenId>) -> Result<StatusCode> {
    app::api_token::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
