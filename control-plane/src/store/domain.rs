//! Hostnames of services. One that is routed is unique over the platform; one that only waits for its
//! DNS is a claim, unique in its organization.

use sqlx::postgres::PgRow;

use api::{
    domain::{Domain, DomainKind},
    page::Page,
};
use domain::id::{DomainId, OrganizationId, ServiceId};

use super::{
    Error,
    page::Paging,
    query, route_refresh,
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

/// Stores a hostname; none when the organization has it already, or it would be routed at once and is
/// somebody else's.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    new: &Domain,
) -> Result<Option<Domain>, Error> {
    let query = sqlx::query(
        "insert into domain (id, organization_id, service_id, hostname, kind, verified_at, last_error)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict do nothing
         returning id, service_id, hostname, kind, verified_at, last_error, created_at",
    )
    .bind(new.id.uuid())
    .bind(organization.uuid())
    .bind(new.service_id.uuid())
    .bind(&new.hostname)
    .bind(kind_str(new.kind))
    .bind(new.verified_at)
    .bind(&new.last_error);
    let made = query::find(tx, query, domain).await?;
    if let Some(made) = &made {
        route_refresh::request(tx, made.id).await?;
    }
    Ok(made)
}

/// How many hostnames of the organization wait for their DNS.
///
/// # Errors
/// When the database can't be reached.
pub async fn count_waiting(
    tx: &mut impl Access,
    organization: OrganizationId,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "select count(*) from domain
         where organization_id = $1 and kind = 'custom' and verified_at is null",
    )
    .bind(organization.uuid())
    .fetch_one(tx.executor())
    .await?)
}

/// One hostname.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: DomainId) -> Result<Option<Domain>, Error> {
    let query = sqlx::query(
        "select id, service_id, hostname, kind, verified_at, last_error, created_at
         from domain where id = $1",
    )
    .bind(id.uuid());
    query::find(tx, query, domain).await
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
    let query = sqlx::query(
        "select id, service_id, hostname, kind, verified_at, last_error, created_at from domain
         where service_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
    )
    .bind(service.uuid());
    query::page(tx, query, paging, domain, |d| d.id.uuid()).await
}

/// Removes a hostname.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(tx: &mut impl Write, id: DomainId) -> Result<(), Error> {
    route_refresh::request(tx, id).await?;
    sqlx::query("delete from domain where id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
