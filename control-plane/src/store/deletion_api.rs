//! Deletions as people see them.

use sqlx::postgres::PgRow;

use api::{deletion::Deletion, page::Page};
use domain::id::OrganizationId;

use super::{Error, page::Paging, query, row::Columns as _, tx::Access};

fn deletion(row: &PgRow) -> Result<Deletion, Error> {
    Ok(Deletion {
        id: row.id("id")?,
        subject: row.value("subject")?,
        name: row.parsed("name")?,
        step: row.json_text("step")?,
        step_since: row.value("step_since")?,
        waits_on: row.value("waits_on")?,
        error: row.value("last_error")?,
        created_at: row.value("created_at")?,
    })
}

/// What is being deleted in an organization.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    organization: OrganizationId,
    kind: &str,
    paging: Paging,
) -> Result<Page<Deletion>, Error> {
    let query = sqlx::query(
        "select id, subject, name, step, step_since, waits_on, last_error, created_at from workflow
         where organization_id = $1 and kind = $2 and finished_at is null and ($3::uuid is null or id > $3)
         order by id limit $4",
    )
    .bind(organization.uuid())
    .bind(kind);
    query::page(tx, query, paging, deletion, |d| d.id.uuid()).await
}
