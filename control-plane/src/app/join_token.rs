//! Single-use tokens that let a machine become a node.

use api::{
    join_token::{CreateJoinToken, CreatedJoinToken, JoinToken},
    page::Page,
    problem::Code,
};
use domain::id::{JoinTokenId, UserId};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    State,
    store::{self, join_token::NewJoinToken, page::Paging, tx::Write},
};

use super::{
    Action, Context, Error, authorize_platform,
    idempotency::{self, Begun},
};

/// A token that nobody has used by then is worthless.
const MINUTES: i32 = 15;

/// All join tokens.
///
/// # Errors
/// When not allowed.
pub async fn list(context: &Context, paging: Paging) -> Result<Page<JoinToken>, Error> {
    let grant = authorize_platform(context, Action::JoinTokenList)?;
    let mut tx = grant.read(context).await?;
    Ok(store::join_token::list(&mut tx, paging).await?)
}

/// Makes a join token. Its text is shown once.
///
/// # Errors
/// When not allowed, or there is no such region.
pub async fn create(
    context: &Context,
    request: CreateJoinToken,
) -> Result<CreatedJoinToken, Error> {
    let grant = authorize_platform(context, Action::JoinTokenCreate)?;
    let tx = grant.mutate(context).await?;
    let mut tx = match idempotency::begin::<CreatedJoinToken>(context, tx).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let user = Some(context.actor.user);
    let created = issue(&context.state, &mut tx, &request, user).await?;
    let detail = json!({ "region": request.region, "role": request.role });
    let entry = context.did_with(grant.action, created.join_token.id, detail);
    tx.commit_secret(entry, created).await
}

/// Stores a new token and gives its text; also for the operator's command line.
///
/// # Errors
/// When there is no such region.
pub async fn issue(
    state: &State,
    tx: &mut impl Write,
    request: &CreateJoinToken,
    created_by: Option<UserId>,
) -> Result<CreatedJoinToken, Error> {
    let region = store::region::find_by_name(tx, &request.region).await?;
    let region = region.ok_or_else(|| {
        Error::refused(
            Code::UnknownRegion,
            format!("there is no region {}; make it first", request.region),
        )
    })?;
    let secret = hex::encode(rand::random::<[u8; 32]>());
    let id = JoinTokenId::new();
    let new = NewJoinToken {
        id,
        region: region.id,
        role: request.role,
        secret_hash: Sha256::digest(secret.as_bytes()).into(),
        minutes: MINUTES,
        created_by,
    };
    let join_token = store::join_token::insert(tx, &new).await?;
    let token = protocol::join_token::JoinToken {
        id,
        secret,
        ca_sha256: state.keys.authority.spki_sha256(),
    };
    Ok(CreatedJoinToken {
        join_token,
        token: token.to_string(),
        control_plane: Some(state.config.node_url.to_string()),
    })
}

/// Deletes a join token; nobody can join with it any more.
///
/// # Errors
/// When not allowed, or there is none.
pub async fn delete(context: &Context, id: JoinTokenId) -> Result<(), Error> {
    let grant = authorize_platform(context, Action::JoinTokenDelete)?;
    let mut tx = grant.mutate(context).await?;
    if !store::join_token::delete(&mut tx, id).await? {
        return Err(Error::not_found("join token", id));
    }
    context.commit(tx, context.did(grant.action, id), &[]).await
}
