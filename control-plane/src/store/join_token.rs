//! Single-use tokens that let a machine become a node: making, listing and deleting them.

use sqlx::postgres::PgRow;

use api::{join_token::JoinToken, node::NodeRole, page::Page};
use domain::id::{JoinTokenId, RegionId, UserId};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

fn join_token(row: &PgRow) -> Result<JoinToken, Error> {
    Ok(JoinToken {
        id: row.id("id")?,
        region: row.parsed("region")?,
        role: super::node_role(row.value("role")?)?,
        expires_at: row.value("expires_at")?,
        used_at: row.value("used_at")?,
        node_id: row.id_opt("node_id")?,
        created_at: row.value("created_at")?,
    })
}

/// A join token that is to be made.
pub struct NewJoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// Where the node will stand.
    pub region: RegionId,
    /// What it will be.
    pub role: NodeRole,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// Good for this long.
    pub minutes: i32,
    /// Who made it; none on the command line.
    pub created_by: Option<UserId>,
}

/// Stores a token.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(tx: &mut impl Write, new: &NewJoinToken) -> Result<JoinToken, Error> {
    let row = sqlx::query(
        "with made as (
             insert into join_token (id, region_id, role, secret_hash, expires_at, created_by)
             values ($1, $2, $3, $4, now() + make_interval(mins => $5), $6) returning *)
         select made.*, r.name as region from made join region r on r.id = made.region_id",
    )
    .bind(new.id.uuid())
    .bind(new.region.uuid())
    .bind(new.role.as_str())
    .bind(new.secret_hash.as_slice())
    .bind(new.minutes)
    .bind(new.created_by.map(UserId::uuid))
    .fetch_one(tx.executor())
    .await?;
    join_token(&row)
}

/// All tokens, used ones too.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(tx: &mut impl Access, paging: Paging) -> Result<Page<JoinToken>, Error> {
    let query = sqlx::query(
        "select t.*, r.name as region from join_token t join region r on r.id = t.region_id
         where $1::uuid is null or t.id > $1 order by t.id limit $2",
    );
    query::page(tx, query, paging, join_token, |t| t.id.uuid()).await
}

/// Deletes a token; false when there is none.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(tx: &mut impl Write, id: JoinTokenId) -> Result<bool, Error> {
    let query = sqlx::query("delete from join_token where id = $1").bind(id.uuid());
    query::changed(tx, query).await
}
