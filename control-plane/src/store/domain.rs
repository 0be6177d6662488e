//! Hostnames of services. One that is routed is unique over the platform; one that only waits for its
//! DNS is a claim, unique in its organization.

use sqlx::postgres::PgRow;

use api::{
    domain::{
        CertificateOrder, CertificateProblem, Domain, DomainCertificate, DomainKind, DomainTls,
    },
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

const fn tls_str(tls: DomainTls) -> &'static str {
    match tls {
        DomainTls::Automatic => "automatic",
        DomainTls::Internal => "internal",
        DomainTls::Uploaded => "uploaded",
    }
}

/// A hostname with its certificate and the order for the next one.
macro_rules! select_domain {
    ($rest:literal) => {
        concat!(
            "select d.id, d.service_id, d.hostname, d.kind, d.verified_at, d.last_error, d.tls, d.created_at,
                c.issuer, c.authority, c.not_after, c.renew_at,
                o.step, o.due_at, o.problem_code, o.problem_message
             from domain d left join domain_certificate c on c.domain_id = d.id
             left join certificate_order o on o.domain_id = d.id ",
            $rest
        )
    };
}

fn certificate(row: &PgRow) -> Result<Option<DomainCertificate>, Error> {
    let Some(issuer) = row.value("issuer")? else {
        return Ok(None);
    };
    Ok(Some(DomainCertificate {
        issuer,
        authority: row.value("authority")?,
        not_after: row.value("not_after")?,
        renew_at: row.value("renew_at")?,
    }))
}

fn certificate_order(row: &PgRow) -> Result<Option<CertificateOrder>, Error> {
    let Some(step) = row.value("step")? else {
        return Ok(None);
    };
    let code: Option<String> = row.value("problem_code")?;
    let message: Option<String> = row.value("problem_message")?;
    let problem = |(code, message)| CertificateProblem { code, message };
    Ok(Some(CertificateOrder {
        step,
        next_at: row.value("due_at")?,
        problem: code.zip(message).map(problem),
    }))
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
        tls: row.json_text("tls")?,
        certificate: certificate(row)?,
        certificate_order: certificate_order(row)?,
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
        "insert into domain (id, organization_id, service_id, hostname, kind, verified_at, last_error, tls)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict do nothing",
    )
    .bind(new.id.uuid())
    .bind(organization.uuid())
    .bind(new.service_id.uuid())
    .bind(&new.hostname)
    .bind(kind_str(new.kind))
    .bind(new.verified_at)
    .bind(&new.last_error)
    .bind(tls_str(new.tls));
    if !query::changed(tx, query).await? {
        return Ok(None);
    }
    route_refresh::request(tx, new.id).await?;
    find(tx, new.id).await
}

/// Its certificate comes from there from now on; what was on order is not wanted any more.
///
/// # Errors
/// When the database can't be reached.
pub async fn set_tls(tx: &mut impl Write, id: DomainId, tls: DomainTls) -> Result<(), Error> {
    sqlx::query("update domain set tls = $2 where id = $1")
        .bind(id.uuid())
        .bind(tls_str(tls))
        .execute(tx.executor())
        .await?;
    sqlx::query("delete from certificate_order where domain_id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
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
    let query = sqlx::query(select_domain!("where d.id = $1")).bind(id.uuid());
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
    let query = sqlx::query(select_domain!(
        "where d.service_id = $1 and ($2::uuid is null or d.id > $2) order by d.id limit $3"
    ))
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
