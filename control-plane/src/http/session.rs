//! `/v1/sessions` and `/v1/me`.

use axum::extract::{Request, State as Shared};
use http::{StatusCode, header};
use utoipa_axum::{router::OpenApiRouter, routes};

use api::session::{CreateSession, Me, Session};

use crate::{
    State,
    app::{self, Context},
    audit::ActorId,
};

use super::{
    answer::{Created, Result},
    extract::{self, Json},
};

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(delete))
        .routes(routes!(me))
}

/// Signs in with a password.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    operation_id = "session.create",
    tag = "session",
    request_body = CreateSession,
    responses((status = 201, description = "Signed in; the token is shown once.", body = Session)),
)]
async fn create(Shared(state): Shared<State>, request: Request) -> Result<Created<Session>> {
    use axum::extract::FromRequest as _;

    let (parts, body) = request.into_parts();
    let source = extract::source(&parts, ActorId::Anonymous);
    let user_agent = parts.headers.get(header::USER_AGENT);
    let user_agent: Option<String> = user_agent
        .and_then(|value| value.to_str().ok())
        .map(|text| text.chars().take(200).collect());
    let Json(body) = Json::from_request(Request::from_parts(parts, body), &state).await?;
    let session = app::session::create(&state, source, user_agent.as_deref(), body).await?;
    Ok(Created(session))
}

/// Ends the session that the request came with.
#[utoipa::path(
    delete,
    path = "/v1/sessions/current",
    operation_id = "session.delete",
    tag = "session",
    responses((status = 204, description = "Signed out.")),
)]
async fn delete(context: Context) -> Result<StatusCode> {
    app::session::end_current(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who the caller is, and what of.
#[utoipa::path(
    get,
    path = "/v1/me",
    operation_id = "me.get",
    tag = "session",
    responses((status = 200, description = "The caller.", body = Me)),
)]
async fn me(context: Context) -> Result<axum::Json<Me>> {
    Ok(axum::Json(app::session::me(&context).await?))
}
