//! `/v1/registry/token`: the token server of the image registry, in the form that Docker's clients
//! speak (distribution's token authentication).

use axum::{Json, extract::State as Shared};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use http::{HeaderMap, Uri, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::problem::Code;

use crate::{State, app, identity::Actor};

use super::{Failure, answer::Result};

/// Scopes of one request.
const SCOPES_MAX: usize = 20;

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(token))
}

/// A token, as Docker's clients read it.
#[derive(Serialize, ToSchema)]
struct RegistryToken {
    /// A JWT for the registry.
    token: String,
    /// The same, under the name of OAuth 2.
    access_token: String,
    /// In seconds.
    expires_in: u64,
    /// When it was made.
    issued_at: DateTime<Utc>,
}

/// A token for the image registry. Without credentials it is good for base images; with an API token
/// as password of HTTP basic authentication, for what its maker may pull.
#[utoipa::path(
    get,
    path = "/v1/registry/token",
    operation_id = "registry.token",
    tag = "registry",
    params(
        ("service" = Option<String>, Query, description = "The registry's name."),
        ("scope" = Option<Vec<String>>, Query, description = "repository:name:pull,push"),
        ("account" = Option<String>, Query, description = "Of the client's own; not used."),
    ),
    responses((status = 200, description = "A short-lived token.", body = RegistryToken)),
)]
async fn token(
    Shared(state): Shared<State>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<RegistryToken>> {
    let actor = basic(&state, &headers).await?;
    let scopes: Vec<String> = url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes())
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| value.into_owned())
        .take(SCOPES_MAX)
        .collect();
    let issued = app::registry::token(&state, actor.as_ref(), &scopes).await?;
    Ok(Json(RegistryToken {
        access_token: issued.token.clone(),
        token: issued.token,
        expires_in: issued.expires_in_seconds,
        issued_at: Utc::now(),
    }))
}

async fn basic(state: &State, headers: &HeaderMap) -> Result<Option<Actor>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let password = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .and_then(|pair| Some(pair.split_once(':')?.1.to_owned()));
    let password = password.ok_or_else(|| {
        Failure::new(
            Code::Unauthenticated,
            "sign in to the registry with any user name and an API token as password",
        )
    })?;
    let actor = state.sessions.authenticate(&password).await;
    Ok(Some(actor.map_err(app::Error::from)?))
}
