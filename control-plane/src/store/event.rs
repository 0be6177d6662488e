//! The event stream of an organization: what happened, in the order of commits, without gaps.

use domain::id::{EventId, OrganizationId};
use serde_json::Value;

use api::event::Event;

use super::{Connection, Error, row::Columns as _, tx::Access};

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
    mut connection: Connection<'_>,
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
    .fetch_one(connection.again())
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
        .execute(connection.again())
        .await?;
    }
    Ok(())
}

/// The first and the last sequence that are kept; both 0 when there are none.
///
/// # Errors
/// When the database can't be reached.
pub async fn bounds(
    tx: &mut impl Access,
    organization: OrganizationId,
) -> Result<(i64, i64), Error> {
    let row = sqlx::query(
        "select coalesce((select min(sequence) from event where organization_id = o.id), 0) as first,
             o.event_sequence as last
         from organization o where o.id = $1",
    )
    .bind(organization.uuid())
    .fetch_one(tx.executor())
    .await?;
    Ok((row.value("first")?, row.value("last")?))
}

/// What follows a sequence, at most `limit` events.
///
/// # Errors
/// When the database can't be reached.
pub async fn list_after(
    tx: &mut impl Access,
    organization: OrganizationId,
    sequence: i64,
    limit: i64,
) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query(
        "select sequence, kind, subject, data, at from event
         where organization_id = $1 and sequence > $2 order by sequence limit $3",
    )
    .bind(organization.uuid())
    .bind(sequence)
    .bind(limit)
    .fetch_all(tx.executor())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                sequence: row.value("sequence")?,
                kind: row.value("kind")?,
                subject: row.value("subject")?,
                data: row.value("data")?,
                at: row.value("at")?,
            })
        })
        .collect()
}
