//! A build's output on its way to the node's log files. Bounded: what comes too fast or is too
//! much is dropped, counted, and shown as a gap; a build never waits for the disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use tokio::{sync::mpsc, task::JoinHandle};

use domain::id::BuildId;
use protocol::log::{LogLine, LogSource, Stream};

/// Lines per second that pass; as many may come at once.
const LINES_PER_SECOND: u32 = 2_000;
/// Lines of one build that pass.
const LINES_MAX: u32 = 200_000;
/// Of one line, as [`LogLine::text`] says.
const TEXT_MAX: usize = 16 * 1024;
const QUEUE: usize = 4_096;
const BATCH: usize = 500;

/// Where build output goes.
#[async_trait]
pub trait LogSink: Send + Sync + 'static {
    /// Takes lines, in order; `dropped` were lost before them.
    async fn append(&self, source: LogSource, lines: Vec<LogLine>, dropped: u64);
    /// No more lines will come.
    async fn end(&self, source: LogSource);
}

#[async_trait]
impl LogSink for crate::logs::Logs {
    async fn append(&self, source: LogSource, lines: Vec<LogLine>, dropped: u64) {
        Self::append(self, source, lines, dropped).await;
    }

    async fn end(&self, source: LogSource) {
        Self::end(self, source).await;
    }
}

/// Takes the output of one build; cloned freely.
#[derive(Clone)]
pub struct Log {
    queue: mpsc::Sender<(LogLine, u64)>,
    budget: Arc<Mutex<Budget>>,
}

/// The other end of a [`Log`].
pub struct Writer {
    source: LogSource,
    sink: Arc<dyn LogSink>,
    budget: Arc<Mutex<Budget>>,
    task: JoinHandle<()>,
}

/// Begins the log of a build.
pub fn begin(build: BuildId, sink: Arc<dyn LogSink>) -> (Log, Writer) {
    let source = LogSource::Build(build);
    let (queue, lines) = mpsc::channel(QUEUE);
    let budget = Arc::new(Mutex::new(Budget::new(Instant::now())));
    let writer = Writer {
        source,
        task: tokio::spawn(forward(source, Arc::clone(&sink), lines)),
        sink,
        budget: Arc::clone(&budget),
    };
    (Log { queue, budget }, writer)
}

impl Log {
    /// A line of the build's own output.
    pub fn line(&self, stream: Stream, text: &str) {
        let mut budget = lock(&self.budget);
        let Some(dropped) = budget.admit(Instant::now()) else {
            return;
        };
        if self.queue.try_send((line(stream, text), dropped)).is_err() {
            budget.dropped += dropped + 1;
        }
    }
}

impl Writer {
    /// Writes what is left and a last line, which always passes. Every [`Log`] must be gone.
    pub async fn end(self, stream: Stream, text: &str) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the end of a build's log is lost");
        }
        let dropped = std::mem::take(&mut lock(&self.budget).dropped);
        self.sink
            .append(self.source, vec![line(stream, text)], dropped)
            .await;
        self.sink.end(self.source).await;
    }
}

async fn forward(
    source: LogSource,
    sink: Arc<dyn LogSink>,
    mut queue: mpsc::Receiver<(LogLine, u64)>,
) {
    let mut entries = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut entries, BATCH).await > 0 {
        let mut lines = Vec::with_capacity(entries.len());
        let mut lost = 0;
        for (line, dropped) in entries.drain(..) {
            // A gap is shown where it was: before the line that follows it.
            if dropped > 0 && !lines.is_empty() {
                sink.append(source, std::mem::take(&mut lines), lost).await;
                lost = 0;
            }
            lost += dropped;
            lines.push(line);
        }
        sink.append(source, lines, lost).await;
    }
}

struct Budget {
    second: Instant,
    this_second: u32,
    total: u32,
    dropped: u64,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self {
            second: now,
            this_second: 0,
            total: 0,
            dropped: 0,
        }
    }

    /// Whether a line may pass now; if so, how many were dropped before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.this_second = 0;
        }
        if self.this_second >= LINES_PER_SECOND || self.total >= LINES_MAX {
            self.dropped += 1;
            return None;
        }
        self.this_second += 1;
        self.total += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

fn lock(budget: &Mutex<Budget>) -> std::sync::MutexGuard<'_, Budget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

fn line(stream: Stream, text: &str) -> LogLine {
    LogLine {
        at: Utc::now(),
        stream,
        text: text
            .get(..text.floor_char_boundary(TEXT_MAX))
            .unwrap_or_default()
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(Vec<LogLine>, u64)>>);

    #[async_trait]
    impl LogSink for Kept {
        async fn append(&self, _: LogSource, lines: Vec<LogLine>, dropped: u64) {
            self.0.lock().unwrap().push((lines, dropped));
        }
        async fn end(&self, _: LogSource) {}
    }

    #[tokio::test]
    async fn a_flood_is_dropped_and_every_dropped_line_is_counted() {
        let sink = Arc::new(Kept::default());
        let (log, writer) = begin(BuildId::new(), sink.clone());
        for n in 0..LINES_PER_SECOND * 5 {
            log.line(Stream::Stdout, &n.to_string());
        }
        drop(log);
        writer.end(Stream::Stdout, "end").await;
        let kept = sink.0.lock().unwrap();
        let dropped: u64 = kept.iter().map(|(_, dropped)| dropped).sum();
        let shown: usize = kept.iter().map(|(lines, _)| lines.len()).sum();
        assert_eq!(shown as u64 - 1 + dropped, u64::from(LINES_PER_SECOND) * 5);
        assert!(dropped > 0);
        let last = kept.last().unwrap();
        assert_eq!((last.0[0].text.as_str(), last.0.len()), ("end", 1));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let long = "ä".repeat(TEXT_MAX);
        let text = line(Stream::Stdout, &format!("a{long}")).text;
        assert!(text.len() <= TEXT_MAX && text.len() > TEXT_MAX - 4);
    }
}
