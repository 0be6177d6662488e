//! The log store on a real PostgreSQL.

mod reading;
mod writing;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use api::log::LogRecord;
use control_plane::{
    config::Database as DatabaseConfig,
    logs::{self, Kind, LogStore, Origin, PostgresLogs, Query},
};
use domain::{
    id::{BuildId, DeploymentId, InstanceId, NodeId, OrganizationId, ServiceId},
    quantity::Bytes,
};
use protocol::log::{LogBatch, LogLine, LogSource, Stream};
use sqlx::PgPool;
use testkit::{
    postgres::{Database, template},
    wait::until,
};

use crate::orchestration::platform::DEADLINE;

struct Rig {
    database: Database,
    logs: PostgresLogs,
}

const PLENTY: Bytes = Bytes::mebibytes(1024);

fn config(url: &str) -> DatabaseConfig {
    let url = SecretString::from(url.to_owned());
    DatabaseConfig {
        owner_url: url.clone(),
        system_url: url.clone(),
        app_url: url.clone(),
        logs_url: url,
        connections: 5,
        statement_timeout: control_plane::config::STATEMENT_TIMEOUT,
    }
}

/// A log database of a test's own.
pub async fn database() -> Database {
    let migrations = include_str!("../../../migrations-logs/0001_initial.sql");
    let template = template("logs", migrations, async |url: &str| {
        logs::migrate(&config(url)).await
    });
    template.await.unwrap().database().await.unwrap()
}

async fn rig(budget: Bytes) -> Rig {
    let database = database().await;
    let config = config(&database.url_as("railhead_owner"));
    let logs = PostgresLogs::connect(&config, budget).unwrap();
    Rig { database, logs }
}

impl Rig {
    /// Waits until every line counts as settled: a transaction in another test's database may hold
    /// that back for a moment.
    async fn settled(&self) {
        let pool = self.pool().await;
        until(DEADLINE, async || {
            sqlx::query_scalar(
                "select not exists (
                     select from log_line where xid >= pg_snapshot_xmin(pg_current_snapshot()))",
            )
            .fetch_one(&pool)
            .await
            .unwrap()
        })
        .await;
    }

    async fn pool(&self) -> PgPool {
        PgPool::connect(&self.database.url_as("railhead_owner"))
            .await
            .unwrap()
    }
}

fn origin() -> Origin {
    Origin {
        node: NodeId::new(),
        organization: OrganizationId::new(),
        service: ServiceId::new(),
        deployment: DeploymentId::new(),
        region: "eu-west".parse().unwrap(),
    }
}

fn batch(source: LogSource, first_line: u64, texts: &[&str]) -> LogBatch {
    let lines = texts.iter().zip(0_i64..).map(|(text, n)| LogLine {
        at: Utc::now() + TimeDelta::microseconds(n),
        stream: Stream::Stdout,
        text: (*text).to_owned(),
    });
    LogBatch {
        source,
        first_line,
        lines: lines.collect(),
        dropped: 0,
    }
}

fn query(origin: &Origin) -> Query {
    Query {
        organization: origin.organization,
        service: origin.service,
        deployment: None,
        kind: Kind::Instance,
        since: None,
        until: None,
        filter: None,
        limit: 100,
    }
}

/// Texts of lines, and gaps as numbers.
fn shown(records: &[LogRecord]) -> Vec<String> {
    let show = |record: &LogRecord| match record {
        LogRecord::Line(line) => line.text.clone(),
        LogRecord::Gap { dropped, .. } => format!("<{dropped} lost>"),
        LogRecord::Idle => "<idle>".to_owned(),
    };
    records.iter().map(show).collect()
}

async fn read(rig: &Rig, query: &Query) -> Vec<String> {
    rig.settled().await;
    shown(&rig.logs.read(query).await.unwrap().records)
}
