//! Who nodes are: join tokens and the identity columns of `node`.

use domain::{
    id::{JoinTokenId, NodeId},
    name::Name,
};
use protocol::join::Role;

use super::{
    Error,
    tx::{Access as _, Mutation, SystemTx},
};
use crate::ca::NodeCertificate;

/// A stored join token.
pub struct Token {
    pub region: Name,
    pub role: Role,
    pub secret_hash: Vec<u8>,
    pub state: TokenState,
}

/// Whether a join token is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    Open,
    Used,
    Expired,
}

/// A node that is joining.
pub struct NewNode<'a> {
    pub id: NodeId,
    pub token: JoinTokenId,
    pub name: &'a Name,
    pub certificate: &'a NodeCertificate,
}

/// A node as its certificate must show it.
pub struct Known {
    pub region: Name,
    pub role: Role,
    pub public_key: Vec<u8>,
    pub denied: bool,
}

/// The token, nobody else's until the transaction's end.
pub async fn lock_token(tx: &mut Mutation, id: JoinTokenId) -> Result<Option<Token>, Error> {
    let row: Option<(String, String, Vec<u8>, bool, bool)> = sqlx::query_as(
        "select region.name, token.role, token.secret_hash, token.used_at is not null,
                token.expires_at <= now()
         from join_token token join region on region.id = token.region_id
         where token.id = $1 for update of token",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.map(|(region, role, secret_hash, used, expired)| {
        Ok(Token {
            region: name_of(&region)?,
            role: role_of(&role)?,
            secret_hash,
            state: match (used, expired) {
                (true, _) => TokenState::Used,
                (false, true) => TokenState::Expired,
                (false, false) => TokenState::Open,
            },
        })
    })
    .transpose()
}

/// Makes the node and uses up its token.
pub async fn insert(tx: &mut Mutation, node: &NewNode<'_>) -> Result<(), Error> {
    sqlx::query(
        "insert into node (id, region_id, role, name, certificate_serial, certificate_not_after, public_key)
         select $1, region_id, role, $3, $4, $5, $6 from join_token where id = $2",
    )
    .bind(node.id.uuid())
    .bind(node.token.uuid())
    .bind(node.name.as_str())
    .bind(&node.certificate.serial)
    .bind(node.certificate.not_after)
    .bind(&node.certificate.public_key)
    .execute(tx.executor())
    .await?;
    sqlx::query("update join_token set used_at = now(), node_id = $2 where id = $1")
        .bind(node.token.uuid())
        .bind(node.id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}

pub async fn find(tx: &mut SystemTx, id: NodeId) -> Result<Option<Known>, Error> {
    let row: Option<(String, String, Vec<u8>, bool)> = sqlx::query_as(
        "select region.name, node.role, node.public_key, node.denied_at is not null
         from node join region on region.id = node.region_id where node.id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.map(|(region, role, public_key, denied)| {
        Ok(Known {
            region: name_of(&region)?,
            role: role_of(&role)?,
            public_key,
            denied,
        })
    })
    .transpose()
}

pub async fn name(tx: &mut SystemTx, id: NodeId) -> Result<Name, Error> {
    let name: String = sqlx::query_scalar("select name from node where id = $1")
        .bind(id.uuid())
        .fetch_one(tx.executor())
        .await?;
    name_of(&name)
}

pub async fn renewed(
    tx: &mut SystemTx,
    id: NodeId,
    certificate: &NodeCertificate,
) -> Result<(), Error> {
    sqlx::query(
        "update node set certificate_serial = $2, certificate_not_after = $3 where id = $1",
    )
    .bind(id.uuid())
    .bind(&certificate.serial)
    .bind(certificate.not_after)
    .execute(tx.executor())
    .await?;
    Ok(())
}

fn name_of(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error| Error::corrupt("name", error))
}

pub(super) fn role_of(word: &str) -> Result<Role, Error> {
    match word {
        "agent" => Ok(Role::Agent),
        "edge" => Ok(Role::Edge),
        other => Err(Error::corrupt("role of a node", other)),
    }
}
