//! `POST /node/v1/registry-token`: lets a node pull what it runs and push what it builds.

use axum::{Json, extract};
use protocol::join::{RegistryToken, RegistryTokenRequest};

use super::{Error, Node};
use crate::{
    State,
    registry::{Issuer, NodeTokenError, node_token},
    store::{fence, tx::SystemTx},
};

/// `POST /node/v1/registry-token`
pub(super) async fn token(
    extract::State(state): extract::State<State>,
    node: Node,
    Json(request): Json<RegistryTokenRequest>,
) -> Result<Json<RegistryToken>, Error> {
    let issuer = Issuer::new(&state.keys.registry)
        .map_err(|error| Error::RegistryToken(NodeTokenError::Token(error)))?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    if fence::is_fenced(&mut tx, node.id).await? {
        return Err(Error::Fenced(node.id.to_string()));
    }
    let token = node_token(&mut tx, &issuer, node.id, &request).await;
    token.map(Json).map_err(Error::RegistryToken)
}
