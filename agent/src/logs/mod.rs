//! Logs of containers and builds: into bounded files on disk, and on to the control plane's log
//! store when it answers (docs/adr/0010). Reading a container's log never slows the container: the
//! engine keeps a bounded file of its own in between.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use domain::id::{BuildId, InstanceId};
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
    EndOthers(Living),
    Where {
        source: LogSource,
        answer: oneshot::Sender<Option<DateTime<Utc>>>,
    },
}

/// Whose lines may still come.
#[derive(Debug)]
pub struct Living {
    /// These.
    pub instances: BTreeSet<InstanceId>,
    /// These; all while no document is known.
    pub builds: Option<BTreeSet<BuildId>>,
}

impl Living {
    fn has(&self, source: LogSource) -> bool {
        match source {
            LogSource::Instance(id) => self.instances.contains(&id),
            LogSource::Build(id) => self.builds.as_ref().is_none_or(|all| all.contains(&id)),
        }
    }
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

    /// Ends every source but these: no more lines will come, and once shipped its files go. Said again and again,
    /// so a full queue may drop it.
    pub fn end_others(&self, living: Living) {
        if self.queue.try_send(Entry::EndOthers(living)).is_err() {
            tracing::debug!("the log writer is behind; sources that have ended are told later");
        }
    }

    async fn next_batch(&self) -> Option<LogBatch> {
        self.on_disk(Store::next_batch).await.flatten()
    }

    async fn acknowledge(&self, batch: LogBatch) {
        self.on_disk(move |store| store.acknowledge(&batch)).await;
    }

    /// On a thread that may wait for the disk; nothing when the agent is ending.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(&self.store);
        let work = move || work(&mut lock(&store));
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// Held over reads and writes of the disk: never on a thread of the runtime.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(mut entries: mpsc::Receiver<Entry>, store: &Mutex<Store>, arrived: &Notify) {
    while let Some(entry) = entries.blocking_recv() {
        let mut store = lock(store);
        match entry {
            Entry::Lines {
                source,
                lines,
                dropped,
            } => store.append(source, &lines, dropped),
            Entry::End(source) => store.end(source),
            Entry::EndOthers(living) => store.end_others(|source| living.has(source)),
            Entry::Where { source, answer } => {
                // Whoever asked may have gone meanwhile.
                let _ = answer.send(store.last_line_at(source));
            }
        }
        drop(store);
        arrived.notify_one();
    }
}
