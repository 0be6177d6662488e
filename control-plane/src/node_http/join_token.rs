//! What a join token is good for, for whoever holds it: a machine looks before it changes anything, and
//! afterwards sees whether its node is ready. Nothing is changed or used up.

use axum::{Json, extract};
use protocol::{
    join::{JoinTokenRequest, JoinTokenStatus},
    join_token::JoinToken,
};

use super::{Error, join::check_secret};
use crate::{
    State,
    store::{node_identity, tx::SystemTx},
};

/// `POST /node/v1/join-token`
pub(super) async fn look_up(
    extract::State(state): extract::State<State>,
    Json(request): Json<JoinTokenRequest>,
) -> Result<Json<JoinTokenStatus>, Error> {
    let token: JoinToken = request.token.parse().map_err(|_| Error::InvalidToken)?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    let stored = node_identity::token_use(&mut tx, token.id)
        .await?
        .ok_or(Error::InvalidToken)?;
    check_secret(&token, &stored.secret_hash)?;
    if stored.expired && !stored.used {
        return Err(Error::ExpiredToken);
    }
    if stored.used && stored.node.is_none() {
        return Err(Error::UsedToken);
    }
    Ok(Json(JoinTokenStatus {
        region: stored.region,
        role: stored.role,
        registry: state.config.registry.host.clone(),
        ca: state.keys.authority.pem().to_owned(),
        now: chrono::Utc::now(),
        node: stored.node,
    }))
}
