//! `NOTIFY`, outside of any other transaction.

use sqlx::PgPool;

use super::Error;

/// Tells everybody who listens on the channel.
pub async fn notify(pool: &PgPool, channel: &str, words: &str) -> Result<(), Error> {
    sqlx::query("select pg_notify($1, $2)")
        .bind(channel)
        .bind(words)
        .execute(pool)
        .await?;
    Ok(())
}
