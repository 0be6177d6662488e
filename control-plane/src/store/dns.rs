//! What the platform's own names in DNS are made of.

use std::net::{IpAddr, SocketAddr};

use domain::name::Name;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Error,
    row::Columns as _,
    tx::{Access as _, SystemTx},
};

/// Where users reach an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeAddress {
    /// Where it stands.
    pub region: Name,
    /// Its address.
    pub address: IpAddr,
    /// It is not late, and not being emptied.
    pub is_live: bool,
}

/// All edges that have told their address and were not expelled.
///
/// # Errors
/// When the database can't be reached.
pub async fn edges(tx: &mut SystemTx) -> Result<Vec<EdgeAddress>, Error> {
    let rows = sqlx::query(
        "select r.name as region, s.public_address, s.late_since is null and not n.draining as live
         from node n join region r on r.id = n.region_id join node_status s on s.node_id = n.id
         where n.role = 'edge' and n.denied_at is null and s.public_address is not null
         order by r.name, s.public_address, n.id",
    )
    .fetch_all(tx.executor())
    .await?;
    rows.iter().map(edge).collect()
}

fn edge(row: &PgRow) -> Result<EdgeAddress, Error> {
    let address: SocketAddr = row.parsed("public_address")?;
    Ok(EdgeAddress {
        region: row.parsed("region")?,
        address: address.ip(),
        is_live: row.value("live")?,
    })
}

/// Tells this installation of the platform from every other one.
///
/// # Errors
/// When the database can't be reached.
pub async fn installation(tx: &mut SystemTx) -> Result<Uuid, Error> {
    Ok(sqlx::query_scalar("select installation_id from platform")
        .fetch_one(tx.executor())
        .await?)
}
