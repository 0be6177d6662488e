//! The embedded log store: PostgreSQL, written by COPY, one transaction per batch.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chrono::Utc;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use domain::{
    id::{OrganizationId, ServiceId},
    quantity::Bytes,
};
use protocol::log::{LogBatch, LogSource};

use super::{
    Cursor, Error, Kind, LogStore, Origin, Page, Query, check,
    copy::{self, Partition, Rows},
    partition, read,
};
use crate::{config::Database, store::pool};

/// The schema of the log database.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations-logs");

/// Brings the log database's schema up to date.
///
/// # Errors
/// When the database can't be reached or a migration fails.
pub async fn migrate(config: &Database) -> anyhow::Result<()> {
    use anyhow::Context as _;

    let pool = pool(config, &config.logs_url, "railhead-migrate", 1)?;
    MIGRATIONS
        .run(&pool)
        .await
        .context("can't bring the log database's schema up to date (database.logs_url)")
}

/// Log lines in PostgreSQL.
pub struct PostgresLogs {
    pool: PgPool,
    budget: Bytes,
    partition: Mutex<Option<Partition>>,
}

impl PostgresLogs {
    /// For the log database; connections are made when they are needed.
    ///
    /// # Errors
    /// When the address is malformed.
    pub fn connect(config: &Database, budget: Bytes) -> Result<Self, Error> {
        let pool = pool(
            config,
            &config.logs_url,
            "railhead-logs",
            config.connections,
        )
        .map_err(|e| Error::Invalid(format!("database.logs_url: {e}")))?;
        Ok(Self::new(pool, budget))
    }

    /// On a pool that is there already.
    #[must_use]
    pub fn new(pool: PgPool, budget: Bytes) -> Self {
        Self {
            pool,
            budget,
            partition: Mutex::new(None),
        }
    }

    fn set_partition(&self, partition: Option<Partition>) {
        *self
            .partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = partition;
    }

    async fn partition(&self) -> Result<Partition, Error> {
        let known = *self
            .partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match known.filter(|partition| partition.day >= Utc::now().date_naive()) {
            Some(partition) => Ok(partition),
            None => {
                let partition = partition::current(&self.pool).await?;
                self.set_partition(Some(partition));
                Ok(partition)
            }
        }
    }

    async fn store(&self, origin: &Origin, batch: &LogBatch) -> Result<(), Error> {
        let partition = self.partition().await?;
        let mut tx = self.pool.begin().await?;
        let next = next_line(&mut tx, origin, batch.source).await?;
        let (source, kind) = parts(batch.source);
        let mut rows = Rows::new(partition, origin, kind, source, Utc::now());
        let mut dropped = if batch.first_line < next {
            // The gap before a batch is told with its first line.
            0
        } else {
            batch.dropped
        };
        let numbered = (batch.first_line..).zip(&batch.lines);
        for (number, line) in numbered.filter(|(number, _)| *number >= next) {
            rows.push(number, line, std::mem::take(&mut dropped));
        }
        let end = next.max(batch.first_line + batch.lines.len() as u64);
        if end > next {
            let mut copy = tx.copy_in_raw(copy::STATEMENT).await?;
            copy.send(rows.into_bytes()).await?;
            copy.finish().await?;
        }
        advance(&mut tx, source, end).await?;
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl LogStore for PostgresLogs {
    async fn origin(&self, source: LogSource) -> Result<Option<Origin>, Error> {
        let row = sqlx::query(
            "select node_id, organization_id, service_id, deployment_id, region
             from log_source where id = $1",
        )
        .bind(parts(source).0)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let id = |column: &str| row.try_get::<Uuid, _>(column);
        let region = row.try_get::<&str, _>("region")?.parse();
        Ok(Some(Origin {
            node: id("node_id")?.into(),
            organization: id("organization_id")?.into(),
            service: id("service_id")?.into(),
            deployment: id("deployment_id")?.into(),
            region: region.map_err(|e| Error::Statement(sqlx::Error::Decode(Box::new(e))))?,
        }))
    }

    async fn append(&self, origin: &Origin, batch: &LogBatch) -> Result<(), Error> {
        check(batch)?;
        match self.store(origin, batch).await {
            // Another replica has dropped the partition that was known here.
            Err(Error::Statement(_)) => {
                self.set_partition(None);
                self.store(origin, batch).await
            }
            done => done,
        }
    }

    async fn read(&self, query: &Query) -> Result<Page, Error> {
        read::newest(&self.pool, query).await
    }

    async fn follow(&self, query: &Query, after: Cursor) -> Result<Page, Error> {
        read::since(&self.pool, query, after).await
    }

    async fn keep_within_budget(&self) -> Result<(), Error> {
        let dropped = partition::keep_within(&self.pool, self.budget).await?;
        self.set_partition(None);
        if dropped > 0 {
            tracing::info!(
                partitions = dropped,
                "the log store dropped its oldest lines"
            );
        }
        sqlx::query("delete from log_source where seen_at < now() - interval '30 days'")
            .execute(&self.pool)
            .await?;
        sqlx::query("delete from log_loss where told_at < now() - interval '30 days'")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn forget(&self, organization: OrganizationId, service: ServiceId) -> Result<(), Error> {
        for table in ["log_line", "log_source", "log_loss"] {
            let statement =
                format!("delete from {table} where organization_id = $1 and service_id = $2");
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(organization.uuid())
                .bind(service.uuid())
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}

fn parts(source: LogSource) -> (Uuid, Kind) {
    match source {
        LogSource::Instance(id) => (id.uuid(), Kind::Instance),
        LogSource::Build(id) => (id.uuid(), Kind::Build),
    }
}

/// The number of the first line that is not stored yet; locks the source.
async fn next_line(
    connection: &mut PgConnection,
    origin: &Origin,
    source: LogSource,
) -> Result<u64, Error> {
    let (id, kind) = parts(source);
    sqlx::query(
        "insert into log_source (id, kind, node_id, organization_id, service_id, deployment_id, region)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing",
    )
    .bind(id)
    .bind(kind.as_str())
    .bind(origin.node.uuid())
    .bind(origin.organization.uuid())
    .bind(origin.service.uuid())
    .bind(origin.deployment.uuid())
    .bind(origin.region.as_str())
    .execute(&mut *connection)
    .await?;
    let next: i64 = sqlx::query_scalar("select next_line from log_source where id = $1 for update")
        .bind(id)
        .fetch_one(connection)
        .await?;
    Ok(next.unsigned_abs())
}

async fn advance(connection: &mut PgConnection, source: Uuid, next: u64) -> Result<(), Error> {
    sqlx::query("update log_source set next_line = $2, seen_at = now() where id = $1")
        .bind(source)
        .bind(i64::try_from(next).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(())
}
