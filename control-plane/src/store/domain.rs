//! Hostnames of services. A hostname is unique over the platform.

use sqlx::postgres::PgRow;

use api::{
    domain::{Domain, DomainKind},
    page::Page,
};
use domain::id::{DomainId, OrganizationId, ServiceId};

use super::{
    Error,
    page::Paging,
    row::Columns,
    tx::{Access, Write},
};

const fn kind_str(kind: DomainKind) -> &'static str {
    match kind {
        DomainKind::Default => "default",
        DomainKind::Custom => "custom",
    }
}

fn domain(row: &PgRow) -> Result<Domain, Error> {
    Ok(Domain {
        id: row.id("id")?,
        service_id: row.id("service_id")?,
        hostname: row.value("hostname")?,
        kind: match row.value("kind")? {
            "default" => DomainKind::Default,
            "custom" => DomainKind::Custom,
            other => return Err(Error::corrupt("domain kind", other)),
        },
        verified_at: row.value("verified_at")?,
        last_error: row.value("last_error")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores a hostname; none when it is taken (by anybody on the platform).
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    new: &Domain,
) -> Result<Option<Domain>, Error> {
    let row = sqlx::query(
        "insert into domain (id, organization_id, service_id, hostname, kind, verified_at, last_error)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (hostname) do nothing
         returning id, service_id, hostname, kind, verified_at, last_error, created_at",
    )
    .bind(new.id.uuid())
    .bind(organization.uuid())
    .bind(new.service_id.uuid())
    .bind(&new.hostname)
    .bind(kind_str(new.kind))
    .bind(new.verified_at)
    .bind(&new.last_error)
    .fetch_optional(tx.executor())
    .await?;
    row.as_ref().map(domain).transpose()
}

/// One hostname.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: DomainId) -> Result<Option<Domain>, Error> {
    let row = sqlx::query(
        "select id, service_id, hostname, kind, verified_at, last_error, created_at
         from domain where id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.as_ref().map(domain).transpose()
}

/// The hostnames of a service.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Domain>, Error> {
    let rows = sqlx::query(
        "select id, service_id, hostname, kind, verified_at, last_error, created_at from domain
         where service_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
    )
    .bind(service.uuid())
    .bind(paging.after)
    .bind(paging.rows())
    .fetch_all(tx.executor())
    .await?;
    let items = rows.iter().map(domain).collect::<Result<_, _>>()?;
    Ok(paging.page(items, |d: &Domain| d.id.uuid()))
}

/// Removes a hostname.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(tx: &mut impl Write, id: DomainId) -> Result<(), Error> {
    sqlx::query("delete from domain where id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
