//! The schema, and how it is brought up to date while others work by it: also after a migration was interrupted. An index
//! that is made `concurrently` is made outside of any transaction: an interruption leaves it behind, whole or invalid, with
//! its name taken and its migration not written down as done.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, PgConnection,
    migrate::{Migrate as _, MigrateError, Migration, Migrator},
};

use crate::config::Database;

use super::pools::pool;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Whoever waits for a table makes everybody wait who asks for it afterwards, behind a backup for hours. A migration waits
/// so long, lets them through, and tries again. An index that is made `concurrently` is in nobody's way while it waits.
const LOCK_TIMEOUT: &str = "set lock_timeout = '1s'";
const LET_OTHERS_THROUGH: Duration = Duration::from_millis(500);
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Brings the schema up to date, as its owner.
///
/// # Errors
/// When the database can't be reached or a migration fails.
pub async fn migrate(config: &Database) -> Result<(), MigrateError> {
    let pool = pool(config, &config.owner_url, "railhead-migrate", 1)
        .map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let mut connection = pool.acquire().await?;
    // An index of a large table takes longer than a request may, and is to be finished.
    sqlx::query("set statement_timeout = 0")
        .execute(&mut *connection)
        .await?;
    // What another `migrate` is at now is not finished either. An error ends the lock with the connection.
    connection.lock().await?;
    for migration in drop_unfinished(&mut connection).await? {
        apply(&mut connection, migration).await?;
    }
    MIGRATIONS.run(&mut *connection).await?;
    connection.unlock().await
}

/// Applies one, in as many tries as it takes.
async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    let lock_timeout = if migration.no_tx {
        "set lock_timeout = 0"
    } else {
        LOCK_TIMEOUT
    };
    sqlx::query(lock_timeout).execute(&mut *connection).await?;
    loop {
        match MIGRATIONS.run_to(migration.version, &mut *connection).await {
            Err(error) if has_waited(&error) => {
                tracing::warn!(
                    version = migration.version,
                    "a table is in use by a long transaction (see pg_stat_activity): others are let through, and the migration tries again"
                );
                tokio::time::sleep(LET_OTHERS_THROUGH).await;
            }
            outcome => return outcome,
        }
    }
}

fn has_waited(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some(LOCK_NOT_AVAILABLE)
}

/// Drops what interrupted migrations left, so that they can be gone through anew: those that are to come, in order.
async fn drop_unfinished(
    connection: &mut PgConnection,
) -> Result<Vec<&'static Migration>, MigrateError> {
    let table = &MIGRATIONS.table_name;
    connection.ensure_migrations_table(table).await?;
    let done = connection.list_applied_migrations(table).await?;
    let is_done = |migration: &Migration| done.iter().any(|one| one.version == migration.version);
    let unfinished = MIGRATIONS.iter().filter(|migration| !is_done(migration));
    let unfinished: Vec<&Migration> = unfinished.collect();
    for index in unfinished.iter().copied().filter_map(made_concurrently) {
        if exists(connection, index).await? {
            tracing::warn!(
                index,
                "an interrupted migration left this index: it is dropped, and made anew"
            );
            let statement = format!("drop index concurrently if exists {index}");
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(unfinished)
}

/// The index that a migration makes outside of any transaction.
fn made_concurrently(migration: &Migration) -> Option<&str> {
    let mut words = migration.sql.as_str().split_whitespace();
    words.find(|word| migration.no_tx && *word == "concurrently")?;
    words.next()
}

async fn exists(connection: &mut PgConnection, index: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(index)
        .fetch_one(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_outside_of_a_transaction_makes_one_index() {
        let made: Vec<_> = MIGRATIONS.iter().filter_map(made_concurrently).collect();
        let outside = MIGRATIONS.iter().filter(|migration| migration.no_tx);
        assert_eq!(made.len(), outside.count());
        assert_eq!(made.first(), Some(&"deployment_list"));
    }
}
