//! Who nodes are: join tokens and the identity columns of `node`.

use std::collections::HashSet;

use domain::{
    id::{JoinTokenId, NodeId},
    name::Name,
    ring::Ring,
};
use protocol::join::{JoinedNode, Role};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Error,
    row::Columns as _,
    tx::{Access as _, Mutation, SystemTx, Write},
};
use crate::ca::NodeCertificate;

/// A stored join token.
pub struct Token {
    pub region: Name,
    pub role: Role,
    pub secret_hash: Vec<u8>,
    pub state: TokenState,
}

/// What a join token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// For one node.
    Open,
    /// For this node alone, which may not have got the answer.
    UsedBy(Joined),
    /// For nothing.
    Used,
    /// For nothing.
    Expired,
}

/// The node that a token was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub id: NodeId,
    pub name: Name,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
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
    pub ring: Ring,
    pub denied: bool,
}

/// The token, nobody else's until the transaction's end.
pub async fn lock_token(tx: &mut Mutation, id: JoinTokenId) -> Result<Option<Token>, Error> {
    let row = sqlx::query(
        "select region.name as region, token.role, token.secret_hash,
                token.used_at is not null as used, token.expires_at <= now() as expired,
                node.id as node_id, node.name as node_name, node.public_key
         from join_token token join region on region.id = token.region_id
         left join node on node.id = token.node_id and node.denied_at is null
         where token.id = $1 for update of token",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.map(|row| {
        Ok(Token {
            region: row.parsed("region")?,
            role: role_of(row.value("role")?)?,
            secret_hash: row.value("secret_hash")?,
            state: token_state(&row)?,
        })
    })
    .transpose()
}

/// What became of a join token.
pub struct TokenUse {
    pub region: Name,
    pub role: Role,
    pub secret_hash: Vec<u8>,
    pub expired: bool,
    pub used: bool,
    /// The node that used it, unless that was expelled.
    pub node: Option<JoinedNode>,
}

/// The token as it is; nothing is locked. An edge is ready when it has routes.
pub async fn token_use(tx: &mut SystemTx, id: JoinTokenId) -> Result<Option<TokenUse>, Error> {
    let row = sqlx::query(
        "select region.name as region, token.role, token.secret_hash,
                token.used_at is not null as used, token.expires_at <= now() as expired,
                node.id as node_id, node.name as node_name,
                status.reported_at is not null and status.late_since is null
                and (node.role = 'agent' or exists (select 1 from node_feed feed
                     where feed.node_id = node.id and feed.feed like 'routes/%')) as ready
         from join_token token join region on region.id = token.region_id
         left join node on node.id = token.node_id and node.denied_at is null
         left join node_status status on status.node_id = node.id
         where token.id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.map(|row| {
        Ok(TokenUse {
            region: row.parsed("region")?,
            role: role_of(row.value("role")?)?,
            secret_hash: row.value("secret_hash")?,
            expired: row.value("expired")?,
            used: row.value("used")?,
            node: joined_node(&row)?,
        })
    })
    .transpose()
}

fn joined_node(row: &PgRow) -> Result<Option<JoinedNode>, Error> {
    let Some(id) = row.id_opt("node_id")? else {
        return Ok(None);
    };
    Ok(Some(JoinedNode {
        id,
        name: row.parsed("node_name")?,
        ready: row.value::<Option<bool>>("ready")?.unwrap_or(false),
    }))
}

fn token_state(row: &PgRow) -> Result<TokenState, Error> {
    let (used, expired): (bool, bool) = (row.value("used")?, row.value("expired")?);
    let node: Option<NodeId> = row.id_opt("node_id")?;
    Ok(match (used, expired, node) {
        (true, false, Some(id)) => TokenState::UsedBy(Joined {
            id,
            name: row.parsed("node_name")?,
            public_key: row.value("public_key")?,
        }),
        (true, ..) => TokenState::Used,
        (false, true, _) => TokenState::Expired,
        (false, false, _) => TokenState::Open,
    })
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

/// Whether a node may follow and report: it is known and no operator has expelled it.
pub async fn is_welcome(tx: &mut SystemTx, id: NodeId) -> Result<bool, Error> {
    let welcome = "select exists (select 1 from node where id = $1 and denied_at is null)";
    Ok(sqlx::query_scalar(welcome)
        .bind(id.uuid())
        .fetch_one(tx.executor())
        .await?)
}

/// Every node that may speak.
pub async fn welcome(tx: &mut SystemTx) -> Result<HashSet<NodeId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from node where denied_at is null")
        .fetch_all(tx.executor())
        .await?;
    Ok(ids.into_iter().map(NodeId::from).collect())
}

pub async fn find(tx: &mut SystemTx, id: NodeId) -> Result<Option<Known>, Error> {
    let row: Option<(String, String, Vec<u8>, String, bool)> = sqlx::query_as(
        "select region.name, node.role, node.public_key, node.ring, node.denied_at is not null
         from node join region on region.id = node.region_id where node.id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.map(|(region, role, public_key, ring, denied)| {
        Ok(Known {
            region: name_of(&region)?,
            role: role_of(&role)?,
            public_key,
            ring: ring.parse().map_err(|e| Error::corrupt("ring", e))?,
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
    tx: &mut impl Write,
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
