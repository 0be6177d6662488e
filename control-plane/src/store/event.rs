//! The event stream of an organization: what happened, in the order of commits, without gaps.

use serde_json::Value;
use sqlx::PgConnection;

use domain::id::{EventId, OrganizationId};

use super::Error;

/// A row that is to be appended.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// `deployment.live`, `service.updated`, …
    pub kind: &'static str,
    /// The id of what it happened to.
    pub subject: String,
    /// More about it.
    pub data: Value,
}

impl NewEvent {
    /// An event without more about it.
    pub fn new(kind: &'static str, subject: impl ToString) -> Self {
        Self {
            kind,
            subject: subject.to_string(),
            data: Value::Object(serde_json::Map::new()),
        }
    }
}

/// Appends events. Call it last in the transaction: it holds the organization's row until the commit.
///
/// # Errors
/// When the database refuses.
pub async fn append(
    tx: &mut PgConnection,
    organization: OrganizationId,
    events: &[NewEvent],
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(events.len()).map_err(|e| Error::corrupt("event count", e))?;
    let last: i64 = sqlx::query_scalar(
        "update organization set event_sequence = event_sequence + $2 where id = $1
         returning event_sequence",
    )
    .bind(organization.uuid())
    .bind(count)
    .fetch_one(&mut *tx)
    .await?;
    for (sequence, event) in (last - count + 1..).zip(events) {
        sqlx::query(
            "insert into event (id, organization_id, sequence, kind, subject, data)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(EventId::new().uuid())
        .bind(organization.uuid())
        .bind(sequence)
        .bind(event.kind)
        .bind(&event.subject)
        .bind(&event.data)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
