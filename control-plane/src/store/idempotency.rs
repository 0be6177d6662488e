//! Answers of creates, kept for a day under the client's `Idempotency-Key`, in the same transaction
//! as their effect.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use domain::id::OrganizationId;

use super::{
    Error,
    row::Columns as _,
    tx::{Access, SystemTx, Write},
};

/// What is kept of a create.
pub struct Kept {
    /// SHA-256 of method, path and body.
    pub request_hash: Vec<u8>,
    /// The answer; none when it held a secret that is shown once.
    pub answer: Option<Vec<u8>>,
}

/// Takes the key for this transaction; false when another one holds it.
///
/// # Errors
/// When the database can't be reached.
pub async fn try_lock(tx: &mut impl Write, actor: &str, key: &str) -> Result<bool, Error> {
    Ok(
        sqlx::query_scalar(
            "select pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))",
        )
        .bind(actor)
        .bind(key)
        .fetch_one(tx.executor())
        .await?,
    )
}

/// What was kept under a key.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, actor: &str, key: &str) -> Result<Option<Kept>, Error> {
    let row = sqlx::query(
        "select request_hash, body from idempotency_key where actor_id = $1 and key = $2",
    )
    .bind(actor)
    .bind(key)
    .fetch_optional(tx.executor())
    .await?;
    row.map(|row| {
        Ok(Kept {
            request_hash: row.value("request_hash")?,
            answer: row.value("body")?,
        })
    })
    .transpose()
}

/// Keeps an answer.
///
/// # Errors
/// When the key is taken, or the database can't be reached.
pub async fn insert(
    tx: &mut impl Write,
    organization: Option<OrganizationId>,
    actor: &str,
    key: &str,
    kept: &Kept,
) -> Result<(), Error> {
    sqlx::query(
        "insert into idempotency_key (organization_id, actor_id, key, request_hash, body)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(organization.map(Uuid::from))
    .bind(actor)
    .bind(key)
    .bind(&kept.request_hash)
    .bind(&kept.answer)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Forgets what is older.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete_before(tx: &mut SystemTx, before: DateTime<Utc>) -> Result<u64, Error> {
    let deleted = sqlx::query("delete from idempotency_key where created_at < $1")
        .bind(before)
        .execute(tx.executor())
        .await?;
    Ok(deleted.rows_affected())
}
