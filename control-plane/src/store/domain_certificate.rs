//! Rows of `domain_certificate`: the certificate of each of tenants' own hostnames.

use chrono::{DateTime, TimeDelta, Utc};
use domain::id::{CertificateId, DomainId, OrganizationId, ServiceId};
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Error,
    route::Certificate,
    route_refresh,
    tx::{Access as _, SystemTx, Write},
};
use crate::secrets::Sealed;

/// Who made a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// A configured authority, by its name.
    Acme(String),
    /// The platform's own.
    Internal,
    /// Whoever uploaded it.
    Uploaded,
}

impl Issuer {
    const fn word(&self) -> &'static str {
        match self {
            Self::Acme(_) => "acme",
            Self::Internal => "internal",
            Self::Uploaded => "uploaded",
        }
    }

    fn authority(&self) -> Option<&str> {
        match self {
            Self::Acme(authority) => Some(authority),
            Self::Internal | Self::Uploaded => None,
        }
    }
}

/// A certificate to be stored.
#[derive(Debug)]
pub struct New<'a> {
    pub domain: DomainId,
    pub organization: OrganizationId,
    pub id: CertificateId,
    pub version: i64,
    pub issuer: &'a Issuer,
    pub chain_pem: &'a str,
    pub key: &'a Sealed,
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
    /// None: it is not renewed by itself.
    pub renew_at: Option<DateTime<Utc>>,
}

/// The hostname is proven and gets its certificate so, until the transaction's end.
///
/// # Errors
/// When the database can't be reached.
pub async fn lock(tx: &mut impl Write, domain: DomainId, tls: &[&str]) -> Result<bool, Error> {
    let found: Option<Uuid> = sqlx::query_scalar(
        "select id from domain where id = $1 and verified_at is not null and tls = any($2) for update",
    )
    .bind(domain.uuid())
    .bind(tls)
    .fetch_optional(tx.executor())
    .await?;
    Ok(found.is_some())
}

/// Under which id and version the next certificate of a hostname is kept: a new one, or the next of the one that it has.
///
/// # Errors
/// When the database can't be reached.
pub async fn next(tx: &mut impl Write, domain: DomainId) -> Result<(CertificateId, i64), Error> {
    let stored: Option<(Uuid, i64)> =
        sqlx::query_as("select id, key_version from domain_certificate where domain_id = $1")
            .bind(domain.uuid())
            .fetch_optional(tx.executor())
            .await?;
    Ok(stored.map_or_else(
        || (CertificateId::new(), 1),
        |(id, version)| (id.into(), version + 1),
    ))
}

/// Stores it in the place of the one before, and asks for the service's routes. False when there is another one of this
/// version already: somebody was faster.
///
/// # Errors
/// When the database can't be reached.
pub async fn put(tx: &mut impl Write, new: &New<'_>) -> Result<bool, Error> {
    let changed = sqlx::query(
        "insert into domain_certificate (domain_id, organization_id, id, issuer, authority, chain_pem, key_sealed,
            key_wrapped, key_version, not_before, not_after, renew_at, window_due_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, case when $4 = 'acme' then now() end)
         on conflict (domain_id) do update set issuer = $4, authority = $5, chain_pem = $6, key_sealed = $7,
            key_wrapped = $8, key_version = $9, not_before = $10, not_after = $11, renew_at = $12,
            window_due_at = case when $4 = 'acme' then now() end
         where domain_certificate.key_version < $9",
    )
    .bind(new.domain.uuid())
    .bind(new.organization.uuid())
    .bind(new.id.uuid())
    .bind(new.issuer.word())
    .bind(new.issuer.authority())
    .bind(new.chain_pem)
    .bind(&new.key.ciphertext)
    .bind(&new.key.wrapped_key)
    .bind(new.version)
    .bind(new.not_before)
    .bind(new.not_after)
    .bind(new.renew_at)
    .execute(tx.executor())
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    route_refresh::request(tx, new.domain).await?;
    Ok(true)
}

/// Those of the hostnames that are routed to a service.
///
/// # Errors
/// When the database can't be reached.
pub async fn of_service(tx: &mut SystemTx, service: ServiceId) -> Result<Vec<Certificate>, Error> {
    let rows: Vec<(Uuid, String, String, i64)> = sqlx::query_as(
        "select c.id, d.hostname, c.chain_pem, c.key_version from domain d
         join domain_certificate c on c.domain_id = d.id and c.organization_id = d.organization_id
         where d.service_id = $1 and d.verified_at is not null order by c.id",
    )
    .bind(service.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, hostname, chain_pem, key_version)| Certificate {
            id: id.into(),
            // Whatever else it is good for may be somebody else's here.
            names: vec![hostname],
            chain_pem,
            key_version,
        })
        .collect())
}

/// A hostname that needs a certificate of the internal authority, now.
#[derive(Debug, FromRow)]
pub struct Internal {
    domain_id: Uuid,
    organization_id: Uuid,
    /// Perhaps with `*.` in front.
    pub hostname: String,
}

impl Internal {
    pub fn domain(&self) -> DomainId {
        self.domain_id.into()
    }

    pub fn organization(&self) -> OrganizationId {
        self.organization_id.into()
    }
}

/// Hostnames that need one of the internal authority: those that want it so, and where there is no other authority
/// (`alone`) all that choose nothing else. Those below the platform's domain share one.
///
/// # Errors
/// When the database can't be reached.
pub async fn internal_due(
    tx: &mut SystemTx,
    alone: bool,
    platform_domain: &str,
    limit: i64,
) -> Result<Vec<Internal>, Error> {
    Ok(sqlx::query_as(
        "select d.id as domain_id, d.organization_id, d.hostname from domain d
         left join domain_certificate c on c.domain_id = d.id
         where d.kind = 'custom' and d.verified_at is not null and d.hostname not like '%.' || $3
           and (d.tls = 'internal' or $1 and d.tls = 'automatic')
           and (c.domain_id is null or c.renew_at <= now() or d.tls = 'internal' and c.issuer <> 'internal')
         order by d.id limit $2",
    )
    .bind(alone)
    .bind(limit)
    .bind(platform_domain)
    .fetch_all(tx.executor())
    .await?)
}

/// A certificate whose authority is to be asked when it wants to renew it.
#[derive(Debug, FromRow)]
pub struct Windowed {
    domain_id: Uuid,
    pub authority: String,
    pub chain_pem: String,
    pub key_version: i64,
}

impl Windowed {
    pub fn domain(&self) -> DomainId {
        self.domain_id.into()
    }
}

/// Takes some that are due; they are due again in an hour, if nothing is heard until then.
///
/// # Errors
/// When the database can't be reached.
pub async fn claim_windows(tx: &mut SystemTx, limit: i64) -> Result<Vec<Windowed>, Error> {
    Ok(sqlx::query_as(
        "update domain_certificate c set window_due_at = now() + interval '1 hour'
         where c.domain_id in (
             select domain_id from domain_certificate
             where window_due_at <= now() and issuer = 'acme' and authority is not null
             order by window_due_at limit $1 for update skip locked)
         returning c.domain_id, c.authority, c.chain_pem, c.key_version",
    )
    .bind(limit)
    .fetch_all(tx.executor())
    .await?)
}

/// What the authority says: when to renew this very certificate, and when to ask again.
///
/// # Errors
/// When the database can't be reached.
pub async fn set_window(
    tx: &mut SystemTx,
    of: &Windowed,
    renew_at: DateTime<Utc>,
    ask_again_in: TimeDelta,
) -> Result<(), Error> {
    sqlx::query(
        "update domain_certificate set renew_at = $3,
             window_due_at = now() + make_interval(secs => $4)
         where domain_id = $1 and key_version = $2",
    )
    .bind(of.domain_id)
    .bind(of.key_version)
    .bind(renew_at)
    .bind(ask_again_in.as_seconds_f64())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The authority has no such thing as a window: what was chosen when the certificate came stays.
///
/// # Errors
/// When the database can't be reached.
pub async fn forget_window(tx: &mut SystemTx, of: &Windowed) -> Result<(), Error> {
    sqlx::query(
        "update domain_certificate set window_due_at = null where domain_id = $1 and key_version = $2",
    )
    .bind(of.domain_id)
    .bind(of.key_version)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// A newer one is wanted at once, whoever made this one.
///
/// # Errors
/// When the database can't be reached.
pub async fn renew_now(tx: &mut impl Write, domain: DomainId) -> Result<(), Error> {
    sqlx::query("update domain_certificate set renew_at = now() where domain_id = $1")
        .bind(domain.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
