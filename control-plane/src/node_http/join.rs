//! Joining and renewing: how a machine becomes a node and keeps its certificate.

use axum::{Extension, Json, extract};
use domain::{
    id::{JoinTokenId, NodeId},
    name::Name,
};
use protocol::{
    join::{Identity, JoinRequest, RenewRequest, SpiffeId},
    join_token::JoinToken,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Error, peer::Renewing};
use crate::{
    State,
    audit::{ActorId, Entry, Source},
    ca::{NodeCertificate, requested_key},
    listen::Peer,
    store::{
        node_identity::{self, NewNode, TokenState},
        tx::{Mutation, SystemTx},
    },
};

/// `POST /node/v1/join`
pub(super) async fn join(
    extract::State(state): extract::State<State>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<JoinRequest>,
) -> Result<Json<Identity>, Error> {
    let source = Source {
        actor: ActorId::Anonymous,
        address: Some(peer.address.ip()),
        request_id: uuid::Uuid::now_v7().simple().to_string(),
    };
    let joined = try_join(&state, &request, source.clone()).await;
    if let Err(error) = &joined {
        let mut failure = Entry::success(source, "node.join", &request.name);
        failure.outcome = api::audit_event::AuditOutcome::Failure;
        failure.error_code = Some(error.code());
        state.recorder.record(None, failure).await?;
    }
    joined.map(Json)
}

async fn try_join(state: &State, request: &JoinRequest, source: Source) -> Result<Identity, Error> {
    let token: JoinToken = request.token.parse().map_err(|_| Error::InvalidToken)?;
    let mut tx = Mutation::platform(&state.pools, None).await?;
    let stored = node_identity::lock_token(&mut tx, token.id)
        .await?
        .ok_or(Error::InvalidToken)?;
    check_secret(&token, &stored.secret_hash)?;
    let joined = joined_before(&stored.state, request)?;
    let spiffe_id = SpiffeId {
        trust_domain: state.config.platform_domain.clone(),
        region: stored.region.clone(),
        role: stored.role,
        node_id: joined.unwrap_or_else(NodeId::new),
    };
    let certificate = sign(state, &request.csr, &spiffe_id, &request.name)?;
    match joined {
        Some(id) => node_identity::renewed(&mut tx, id, &certificate).await?,
        None => insert(&mut tx, &spiffe_id, token.id, request, &certificate).await?,
    }
    let detail = serde_json::json!({
        "name": request.name, "region": stored.region, "repeated": joined.is_some(),
    });
    let entry = Entry::success(source, "node.join", spiffe_id.node_id).with_detail(detail);
    tx.commit(entry).await?;
    tracing::info!(node = %spiffe_id.node_id, region = %stored.region, name = %request.name, "a node has joined");
    Ok(identity(state, spiffe_id, certificate))
}

/// Refuses a token whose secret is another than the one that was made with its id.
pub(super) fn check_secret(token: &JoinToken, stored_hash: &[u8]) -> Result<(), Error> {
    let hash = Sha256::digest(token.secret.as_bytes());
    if bool::from(hash.as_slice().ct_eq(stored_hash)) {
        return Ok(());
    }
    Err(Error::InvalidToken)
}

/// The node that this very request has made already: its answer was lost, and whoever has the key asks
/// again. None when the token is still open.
fn joined_before(state: &TokenState, request: &JoinRequest) -> Result<Option<NodeId>, Error> {
    match state {
        TokenState::Open => Ok(None),
        TokenState::UsedBy(node)
            if node.name == request.name && node.public_key == requested_key(&request.csr)? =>
        {
            Ok(Some(node.id))
        }
        TokenState::UsedBy(_) | TokenState::Used => Err(Error::UsedToken),
        TokenState::Expired => Err(Error::ExpiredToken),
    }
}

async fn insert(
    tx: &mut Mutation,
    id: &SpiffeId,
    token: JoinTokenId,
    request: &JoinRequest,
    certificate: &NodeCertificate,
) -> Result<(), Error> {
    let node = NewNode {
        id: id.node_id,
        token,
        name: &request.name,
        certificate,
    };
    let inserted = node_identity::insert(tx, &node).await;
    inserted.map_err(|error| taken(error, &id.region, &request.name))
}

/// `POST /node/v1/renew`
pub(super) async fn renew(
    extract::State(state): extract::State<State>,
    node: Renewing,
    Json(request): Json<RenewRequest>,
) -> Result<Json<Identity>, Error> {
    if requested_key(&request.csr)? != node.public_key {
        return Err(Error::OtherKey);
    }
    let id = node.spiffe_id;
    let mut tx = SystemTx::begin(&state.pools).await?;
    let name = node_identity::name(&mut tx, id.node_id).await?;
    let certificate = sign(&state, &request.csr, &id, &name)?;
    node_identity::renewed(&mut tx, id.node_id, &certificate).await?;
    tx.commit().await?;
    Ok(Json(identity(&state, id, certificate)))
}

fn sign(
    state: &State,
    request: &str,
    id: &SpiffeId,
    name: &Name,
) -> Result<NodeCertificate, Error> {
    Ok(state.keys.authority.sign_node(request, id, name)?)
}

fn identity(state: &State, id: SpiffeId, certificate: NodeCertificate) -> Identity {
    Identity {
        node_id: id.node_id,
        region: id.region,
        role: id.role,
        certificate: certificate.pem,
        ca: state.keys.authority.pem().to_owned(),
        feed_keys: vec![state.keys.signer.public_key()],
    }
}

fn taken(error: crate::store::Error, region: &Name, name: &Name) -> Error {
    if error.is_constraint("node_region_id_role_name_key") {
        Error::NameTaken {
            region: region.to_string(),
            name: name.to_string(),
        }
    } else {
        error.into()
    }
}
