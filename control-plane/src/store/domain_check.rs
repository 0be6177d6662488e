//! What the check of tenants' own hostnames needs: which ones wait, and where edges answer.

use std::net::{IpAddr, SocketAddr};

use domain::id::{DomainId, OrganizationId};

use super::{
    Error, event,
    row::Columns as _,
    tx::{Access as _, SystemTx},
};

/// A hostname whose DNS is not known to lead here.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The domain.
    pub id: DomainId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Perhaps with `*.` in front.
    pub hostname: String,
}

/// Hostnames that wait, those first that were checked longest ago.
///
/// # Errors
/// When the database can't be reached.
pub async fn waiting(tx: &mut SystemTx, limit: i64) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query(
        "select id, organization_id, hostname from domain
         where kind = 'custom' and verified_at is null
         order by checked_at nulls first, id limit $1",
    )
    .bind(limit)
    .fetch_all(tx.executor())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Waiting {
                id: row.id("id")?,
                organization: row.id("organization_id")?,
                hostname: row.value("hostname")?,
            })
        })
        .collect()
}

/// Where users reach the platform's edges.
///
/// # Errors
/// When the database can't be reached.
pub async fn edge_addresses(tx: &mut SystemTx) -> Result<Vec<IpAddr>, Error> {
    let addresses: Vec<String> = sqlx::query_scalar(
        "select s.public_address from node n join node_status s on s.node_id = n.id
         where n.role = 'edge' and n.denied_at is null and s.public_address is not null",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(addresses
        .iter()
        .filter_map(|address| address.parse::<SocketAddr>().ok())
        .map(|address| address.ip())
        .collect())
}

/// The hostname leads here: from now on it is routed.
///
/// # Errors
/// When the database can't be reached.
pub async fn verified(tx: &mut SystemTx, domain: &Waiting) -> Result<(), Error> {
    let changed = sqlx::query(
        "update domain set verified_at = now(), checked_at = now(), last_error = null
         where id = $1 and verified_at is null",
    )
    .bind(domain.id.uuid())
    .execute(tx.executor())
    .await?;
    if changed.rows_affected() == 1 {
        let event = event::NewEvent::new("domain.verified", domain.id);
        event::append(tx.executor(), domain.organization, &[event]).await?;
    }
    Ok(())
}

/// The hostname doesn't lead here yet.
///
/// # Errors
/// When the database can't be reached.
pub async fn refused(tx: &mut SystemTx, domain: &Waiting, reason: &str) -> Result<(), Error> {
    sqlx::query("update domain set checked_at = now(), last_error = $2 where id = $1")
        .bind(domain.id.uuid())
        .bind(reason)
        .execute(tx.executor())
        .await?;
    Ok(())
}
