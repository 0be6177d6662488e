//! Where log lines of instances and builds are kept and read (docs/adr/0010): a database of its own,
//! so that a noisy program fills no tenant table, no backup and no audit log. Every read names the
//! organization and the service.

mod copy;
mod partition;
mod postgres;
mod read;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use api::log::LogRecord;
use domain::{
    id::{DeploymentId, NodeId, OrganizationId, ServiceId},
    name::Name,
};
use protocol::log::{LogBatch, LogSource};

pub use postgres::{PostgresLogs, migrate};

const BUDGET_INTERVAL: Duration = Duration::from_secs(60);
/// Most lines of a batch.
const BATCH_LINES_MAX: usize = 1_000;
/// Most bytes of a batch's texts.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Why lines were not stored or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The batch is not what the protocol allows.
    #[error("the log batch is refused: {0}")]
    Invalid(String),
    /// The log database can't be reached or is busy; trying again helps.
    #[error("the log store can't be reached: {0}")]
    Unavailable(sqlx::Error),
    /// Anything else: a fault of ours.
    #[error("the log store failed: {0}")]
    Statement(sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // One place knows which errors of PostgreSQL pass by themselves.
        match crate::store::Error::from(error) {
            crate::store::Error::Unavailable(error)
            | crate::store::Error::ReadOnly(error)
            | crate::store::Error::Contention(error) => Self::Unavailable(error),
            crate::store::Error::Constraint { source, .. }
            | crate::store::Error::Statement(source) => Self::Statement(source),
            other @ (crate::store::Error::Corrupt { .. }
            | crate::store::Error::NewerRendering { .. }) => {
                Self::Statement(sqlx::Error::Protocol(other.to_string()))
            }
        }
    }
}

/// Whose lines a source writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The node that ships them.
    pub node: NodeId,
    /// Whose they are.
    pub organization: OrganizationId,
    /// What they belong to.
    pub service: ServiceId,
    /// What they belong to.
    pub deployment: DeploymentId,
    /// Where they were written.
    pub region: Name,
}

/// Which lines are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whose.
    pub organization: OrganizationId,
    /// Of which service.
    pub service: ServiceId,
    /// Of one deployment only.
    pub deployment: Option<DeploymentId>,
    /// Of builds, or of instances.
    pub kind: Kind,
    /// From this time on.
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
    /// Lines that contain this text; case doesn't matter.
    pub filter: Option<String>,
    /// At most so many of the newest lines.
    pub limit: u32,
}

/// What wrote the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Running containers.
    Instance,
    /// Builds.
    Build,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Build => "build",
        }
    }
}

/// Up to where a reader has the lines. In order of commits: a line that is committed late is not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(i64);

/// Lines in order of their time, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Lines and gaps.
    pub records: Vec<LogRecord>,
    /// For [`LogStore::follow`].
    pub cursor: Cursor,
}

/// Keeps log lines.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// What is known of a source from earlier batches.
    async fn origin(&self, source: LogSource) -> Result<Option<Origin>, Error>;
    /// Stores a batch; what is stored already is left out.
    async fn append(&self, origin: &Origin, batch: &LogBatch) -> Result<(), Error>;
    /// The newest lines.
    async fn read(&self, query: &Query) -> Result<Page, Error>;
    /// Lines that were stored since; `since`, `until` and `limit` of the query don't count.
    async fn follow(&self, query: &Query, after: Cursor) -> Result<Page, Error>;
    /// Drops the oldest lines beyond the store's budget of disk.
    async fn keep_within_budget(&self) -> Result<(), Error>;
    /// Removes every line of a service that is deleted.
    async fn forget(&self, organization: OrganizationId, service: ServiceId) -> Result<(), Error>;
}

/// Keeps the store within its budget until the shutdown.
pub async fn run(store: Arc<dyn LogStore>, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(BUDGET_INTERVAL);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.cancelled() => return,
        }
        match tokio::time::timeout(BUDGET_INTERVAL, store.keep_within_budget()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the log store's disk budget was not checked");
            }
            Err(_) => tracing::warn!("the log store's database does not answer"),
        }
    }
}

/// Checks what the protocol says about a batch's size.
fn check(batch: &LogBatch) -> Result<(), Error> {
    let bytes: usize = batch.lines.iter().map(|line| line.text.len()).sum();
    if batch.lines.len() > BATCH_LINES_MAX || bytes > BATCH_BYTES_MAX {
        return Err(Error::Invalid(format!(
            "it has {} lines and {bytes} bytes; at most {BATCH_LINES_MAX} and {BATCH_BYTES_MAX} are taken",
            batch.lines.len()
        )));
    }
    let end = batch.first_line.checked_add(batch.lines.len() as u64);
    if end.is_none_or(|end| i64::try_from(end).is_err()) || i64::try_from(batch.dropped).is_err() {
        return Err(Error::Invalid("a number in it is too large".to_owned()));
    }
    Ok(())
}
