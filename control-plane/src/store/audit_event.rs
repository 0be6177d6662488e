//! The audit log's rows. Append-only: the database grants nobody but the owner more.

use sqlx::PgConnection;
use uuid::Uuid;

use domain::id::{AuditEventId, OrganizationId};

use crate::audit::Entry;

use super::Error;

/// Appends an event to an organization's log, or to the platform's.
pub(super) async fn insert(
    tx: &mut PgConnection,
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
    .bind(entry.source.address.map(ipnet::IpNet::from))
    .bind(entry.action)
    .bind(&entry.resource)
    .bind(entry.outcome.as_str())
    .bind(entry.error_code)
    .bind(&entry.source.request_id)
    .bind(entry.occurrences)
    .bind(&entry.detail)
    .execute(tx)
    .await?;
    Ok(())
}
