//! `/v1/join-tokens`.

use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    join_token::{CreateJoinToken, CreatedJoinToken, JoinToken},
    page::{Page, PageQuery},
};
use domain::id::JoinTokenId;

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

/// All join tokens.
#[utoipa::path(
    get,
    path = "/v1/join-tokens",
    operation_id = "join_token.list",
    tag = "join_token",
    params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<JoinToken>)),
)]
async fn list(context: Context, paging: Paging) -> Result<Json<Page<JoinToken>>> {
    Ok(Json(app::join_token::list(&context, paging).await?))
}

/// Makes a join token; it is shown once.
#[utoipa::path(
    post,
    path = "/v1/join-tokens",
    operation_id = "join_token.create",
    tag = "join_token",
    params(parameters::IdempotencyKey),
    request_body = CreateJoinToken,
    responses((status = 201, description = "It was made.", body = CreatedJoinToken)),
)]
async fn create(
    Create(context, request): Create<CreateJoinToken>,
) -> Result<Created<CreatedJoinToken>> {
    Ok(Created(app::join_token::create(&context, request).await?))
}

/// Deletes a join token.
#[utoipa::path(
    delete,
    path = "/v1/join-tokens/{join_token_id}",
    operation_id = "join_token.delete",
    tag = "join_token",
    params(("join_token_id" = JoinTokenId, Path)),
    responses((status = 204, description = "It is gone.")),
)]
async fn delete(context: Context, Path(id): Path<JoinTokenId>) -> Result<StatusCode> {
    app::join_token::delete(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
