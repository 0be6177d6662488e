//! Joining: a machine with a token becomes a node. The connection is checked against the CA hash in
//! the token, and the answer against the key and the hash.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::name::Name;
use protocol::{
    join::{self, JoinRequest, Role},
    join_token::JoinToken,
};
use reqwest::Url;

use super::{Credentials, Error, Store, credentials::csr};
use crate::{
    backoff::Backoff,
    client::Client,
    disk,
    tls::{self, certificate},
};

/// What joining needs.
#[derive(Debug)]
pub struct Join<'a> {
    pub control_plane: &'a Url,
    pub name: &'a Name,
    pub role: Role,
    pub token_file: Option<&'a PathBuf>,
}

/// Joins, and keeps the identity. While the control plane can't be reached it is tried again; a
/// refusal is final, because a token is good once and for a quarter of an hour.
pub async fn join(store: &Store, join: &Join<'_>) -> Result<Credentials, Error> {
    let token = read_token(join.token_file.ok_or(Error::NotJoined)?)?;
    let key = Arc::new(store.ensure_key()?);
    let request = JoinRequest {
        token: token.to_string(),
        name: join.name.clone(),
        csr: csr(&key)?,
    };
    let client = Client::new(
        join.control_plane.clone(),
        tls::join_config(token.ca_sha256)?,
    )
    .map_err(Error::Join)?;
    let identity = ask(&client, &request).await?;
    check(&identity, &token, join.role)?;
    let credentials = Credentials::new(identity, key)?;
    store.save(&credentials.identity).await?;
    tracing::info!(node = %credentials.spiffe_id, "joined the platform");
    Ok(credentials)
}

fn read_token(path: &Path) -> Result<JoinToken, Error> {
    let bytes = disk::read(path)?.ok_or(Error::NotJoined)?;
    Ok(String::from_utf8_lossy(&bytes).trim().parse()?)
}

async fn ask(client: &Client, request: &JoinRequest) -> Result<join::Identity, Error> {
    let mut backoff = Backoff::default();
    loop {
        match client.post("/node/v1/join", request).await {
            Ok(identity) => return Ok(identity),
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the control plane can't be reached to join; trying again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => return Err(Error::Join(error)),
        }
    }
}

fn check(identity: &join::Identity, token: &JoinToken, role: Role) -> Result<(), Error> {
    if identity.role != role {
        return Err(Error::Foreign(
            "the join token is for the other role (agent, edge)",
        ));
    }
    let pinned = |certificate| {
        certificate::public_key_sha256(certificate).is_ok_and(|hash| hash == token.ca_sha256)
    };
    if !certificate::from_pem(&identity.ca)?.iter().any(pinned) {
        return Err(Error::Foreign("its CA is not the one of the join token"));
    }
    Ok(())
}
