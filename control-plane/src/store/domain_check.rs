//! What the check of tenants' own hostnames needs: which ones wait, where edges answer, and who has
//! one.

use std::net::{IpAddr, SocketAddr};

use sqlx::postgres::PgRow;

use domain::id::{DomainId, OrganizationId};

use super::{
    Error, event, query, route_refresh,
    row::Columns as _,
    tx::{Access as _, SystemTx},
};

/// That a hostname is an organization's, as somebody there says.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The domain.
    pub id: DomainId,
    /// Whose it would be.
    pub organization: OrganizationId,
    /// Perhaps with `*.` in front.
    pub hostname: String,
    /// The service's default hostname, for an alias.
    pub target: Option<String>,
}

impl Claim {
    /// Where a TXT record proves it. Who controls this name controls the hostname, and all below a wildcard.
    #[must_use]
    pub fn proof_name(&self) -> String {
        let hostname = &self.hostname;
        format!(
            "_railhead.{}",
            hostname.strip_prefix("*.").unwrap_or(hostname)
        )
    }

    /// What the record says.
    #[must_use]
    pub fn proof(&self) -> String {
        format!("railhead-verification={}", self.organization)
    }
}

/// How giving a hostname to a claim went.
pub enum Verified {
    /// It is the claim's now.
    Done,
    /// Somebody else has it.
    HeldBy(Claim),
}

macro_rules! select_claim {
    ($rest:literal) => {
        concat!(
            "select d.id, d.organization_id, d.hostname, (
                 select o.hostname from domain o
                 where o.service_id = d.service_id and o.kind = 'default'
                 order by o.id limit 1) as target
             from domain d where d.kind = 'custom' ",
            $rest
        )
    };
}

fn claim(row: &PgRow) -> Result<Claim, Error> {
    Ok(Claim {
        id: row.id("id")?,
        organization: row.id("organization_id")?,
        hostname: row.value("hostname")?,
        target: row.value("target")?,
    })
}

/// One hostname.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut SystemTx, id: DomainId) -> Result<Option<Claim>, Error> {
    let found = sqlx::query(select_claim!("and d.id = $1")).bind(id.uuid());
    query::find(tx, found, claim).await
}

/// Hostnames that wait, those first that were checked longest ago.
///
/// # Errors
/// When the database can't be reached.
pub async fn waiting(tx: &mut SystemTx, limit: i64) -> Result<Vec<Claim>, Error> {
    let rows = sqlx::query(select_claim!(
        "and d.verified_at is null order by d.checked_at nulls first, d.id limit $1"
    ))
    .bind(limit)
    .fetch_all(tx.executor())
    .await?;
    rows.iter().map(claim).collect()
}

/// Where users reach the platform's edges.
///
/// # Errors
/// When the database can't be reached.
pub async fn edge_addresses(tx: &mut SystemTx) -> Result<Vec<IpAddr>, Error> {
    let addresses: Vec<String> = sqlx::query_scalar(
        "select distinct s.public_address from node n join node_status s on s.node_id = n.id
         where n.role = 'edge' and n.denied_at is null and s.public_address is not null
         order by s.public_address",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(addresses
        .iter()
        .filter_map(|address| address.parse::<SocketAddr>().ok())
        .map(|address| address.ip())
        .collect())
}

/// From now on the hostname is routed to who claims it, unless somebody else has it.
///
/// # Errors
/// When the database can't be reached.
pub async fn verify(tx: &mut SystemTx, made: &Claim) -> Result<Verified, Error> {
    let holder = sqlx::query(select_claim!(
        "and d.hostname = $1 and d.verified_at is not null and d.id <> $2"
    ))
    .bind(&made.hostname)
    .bind(made.id.uuid());
    if let Some(holder) = query::find(tx, holder, claim).await? {
        return Ok(Verified::HeldBy(holder));
    }
    let update = sqlx::query(
        "update domain set verified_at = now(), checked_at = now(), last_error = null
         where id = $1 and verified_at is null",
    )
    .bind(made.id.uuid());
    if query::changed(tx, update).await? {
        route_refresh::request(tx, made.id).await?;
        announce(tx, made, "domain.verified").await?;
    }
    Ok(Verified::Done)
}

/// The hostname is no longer routed to who had it: somebody else has proven that it is theirs.
///
/// # Errors
/// When the database can't be reached.
pub async fn lose(tx: &mut SystemTx, holder: &Claim) -> Result<(), Error> {
    let update = sqlx::query(
        "update domain set verified_at = null, checked_at = now(),
             last_error = 'its DNS says that it is another organization''s now'
         where id = $1 and verified_at is not null",
    )
    .bind(holder.id.uuid());
    if query::changed(tx, update).await? {
        route_refresh::request(tx, holder.id).await?;
        announce(tx, holder, "domain.lost").await?;
    }
    Ok(())
}

/// The claim is not proven yet.
///
/// # Errors
/// When the database can't be reached.
pub async fn refuse(tx: &mut SystemTx, made: &Claim, reason: &str) -> Result<(), Error> {
    sqlx::query("update domain set checked_at = now(), last_error = $2 where id = $1")
        .bind(made.id.uuid())
        .bind(reason)
        .execute(tx.executor())
        .await?;
    Ok(())
}

async fn announce(tx: &mut SystemTx, of: &Claim, kind: &'static str) -> Result<(), Error> {
    let event = event::NewEvent::new(kind, of.id);
    event::append(tx.executor(), of.organization, &[event]).await
}
