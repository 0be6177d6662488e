//! The audit log's rows. Append-only: the database grants nobody but the owner more.

use ipnet::IpNet;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use api::{audit_event::AuditEvent, page::Page};
use domain::id::{AuditEventId, OrganizationId};

use crate::audit::Entry;

use super::{
    Connection, Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, SystemTx},
};

/// Appends an event to an organization's log, or to the platform's.
pub(super) async fn insert(
    connection: Connection<'_>,
    organization: Option<OrganizationId>,
    entry: &Entry,
) -> Result<(), Error> {
    sqlx::query(
        "insert into audit_event (id, organization_id, actor_kind, actor_id, actor_address, action,
             resource, outcome, error_code, request_id, occurrences, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(AuditEventId::new().uuid())
    .bind(organization.map(Uuid::from))
    .bind(entry.source.actor.kind())
    .bind(entry.source.actor.id())
    .bind(entry.source.address.map(IpNet::from))
    .bind(entry.action)
    .bind(&entry.resource)
    .bind(entry.outcome.as_str())
    .bind(entry.error_code)
    .bind(&entry.source.request_id)
    .bind(entry.occurrences)
    .bind(&entry.detail)
    .execute(connection)
    .await?;
    Ok(())
}

/// Appends what changed nothing else: a denial, a failed attempt, a sign-in that failed, a secret
/// that was read.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert_alone(
    tx: &mut SystemTx,
    organization: Option<OrganizationId>,
    entry: &Entry,
) -> Result<(), Error> {
    insert(tx.executor(), organization, entry).await
}

fn audit_event(row: &PgRow) -> Result<AuditEvent, Error> {
    let address: Option<IpNet> = row.value("actor_address")?;
    Ok(AuditEvent {
        id: row.id("id")?,
        at: row.value("at")?,
        actor_kind: row.value("actor_kind")?,
        actor_id: row.value("actor_id")?,
        actor_address: address.map(|net| net.addr().to_string()),
        action: row.value("action")?,
        resource: row.value("resource")?,
        outcome: row.json_text("outcome")?,
        error_code: row.value("error_code")?,
        request_id: row.value("request_id")?,
        occurrences: row.value("occurrences")?,
        detail: row.value("detail")?,
    })
}

/// An organization's log, newest first.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<AuditEvent>, Error> {
    let query = sqlx::query(
        "select * from audit_event
         where organization_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
    )
    .bind(organization.uuid());
    query::page(tx, query, paging, audit_event, |e| e.id.uuid()).await
}
