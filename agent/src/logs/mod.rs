//! Logs of containers and builds: into bounded files on disk, and on to the control plane's log
//! store when it answers (DESIGN §10). Reading a container's log never slows the container: the
//! engine keeps a bounded file of its own in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use protocol::log::{LogBatch, LogLine, LogSource};
use tokio::sync::{Notify, mpsc, oneshot};

mod follow;
mod rate;
mod ship;
mod spool;
mod store;

pub use follow::follow;
pub use rate::Rate;
pub use ship::ship;
pub use store::Store;

/// Appends on their way to the disk.
const QUEUE: usize = 4096;

/// Takes lines of any source; cloned freely.
#[derive(Debug, Clone)]
pub struct Logs {
    queue: mpsc::Sender<Entry>,
    store: Arc<Mutex<Store>>,
    arrived: Arc<Notify>,
}

#[derive(Debug)]
enum Entry {
    Lines {
        source: LogSource,
        lines: Vec<LogLine>,
        dropped: u64,
    },
    End(LogSource),
    Where {
        source: LogSource,
        answer: oneshot::Sender<Option<DateTime<Utc>>>,
    },
}

impl Logs {
    /// Begins to take lines. One task writes, so that a slow disk stops nobody else.
    #[must_use]
    pub fn spawn(store: Store) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        let logs = Self {
            queue,
            store: Arc::new(Mutex::new(store)),
            arrived: Arc::new(Notify::new()),
        };
        let (store, arrived) = (Arc::clone(&logs.store), Arc::clone(&logs.arrived));
        tokio::task::spawn_blocking(move || write(entries, &store, &arrived));
        logs
    }

    /// Takes lines in order; waits while the disk is slow. `dropped` were lost before them.
    pub async fn append(&self, source: LogSource, lines: Vec<LogLine>, dropped: u64) {
        let entry = Entry::Lines {
            source,
            lines,
            dropped,
        };
        if self.queue.send(entry).await.is_err() {
            tracing::error!(?source, "log lines are lost: the log writer has ended");
        }
    }

    /// No more lines will come: once shipped, the source's files go.
    pub async fn end(&self, source: LogSource) {
        if self.queue.send(Entry::End(source)).await.is_err() {
            tracing::error!(?source, "the log writer has ended");
        }
    }

    /// Time of the newest line that was appended: where to go on reading.
    pub async fn last_line_at(&self, source: LogSource) -> Option<DateTime<Utc>> {
        let (answer, asked) = oneshot::channel();
        self.queue
            .send(Entry::Where { source, answer })
            .await
            .ok()?;
        asked.await.ok().flatten()
    }

    /// Ends every source that `lives` refuses: no more lines will come, and once shipped its files go.
    pub fn end_others(&self, lives: impl Fn(LogSource) -> bool) {
        self.store().end_others(lives);
        self.arrived.notify_one();
    }

    fn next_batch(&self) -> Option<LogBatch> {
        self.store().next_batch()
    }

    fn acknowledge(&self, batch: &LogBatch) {
        self.store().acknowledge(batch);
    }

    async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(mut entries: mpsc::Receiver<Entry>, store: &Mutex<Store>, arrived: &Notify) {
    while let Some(entry) = entries.blocking_recv() {
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        match entry {
            Entry::Lines {
                source,
                lines,
                dropped,
            } => store.append(source, &lines, dropped),
            Entry::End(source) => store.end(source),
            Entry::Where { source, answer } => {
                // Whoever asked may have gone meanwhile.
                let _ = answer.send(store.last_line_at(source));
            }
        }
        drop(store);
        arrived.notify_one();
    }
}
