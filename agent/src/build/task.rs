//! The builder's task: does what the queue decides, level-triggered by the feed.

use std::{collections::BTreeMap, sync::Arc};

use chrono::Utc;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use domain::id::BuildId;
use protocol::{
    item::BuildItem,
    log::Stream,
    report::{BuildReport, BuildResult, BuildState},
};

use super::{
    Wanted,
    error::Error,
    job::{Job, Shared},
    log,
    queue::Queue,
    record::{Record, Records},
};

/// Spawns the task.
pub fn spawn(
    shared: Shared,
    wanted: watch::Receiver<Wanted>,
    records: Records,
    builds: BTreeMap<BuildId, Record>,
) -> watch::Receiver<Vec<BuildReport>> {
    let queue = Queue::resumed(builds);
    let (reports, receiver) = watch::channel(queue.reports());
    let task = Task {
        shared: Arc::new(shared),
        wanted,
        records,
        queue,
        reports,
        running: None,
    };
    tokio::spawn(task.run());
    receiver
}

struct Task {
    shared: Arc<Shared>,
    wanted: watch::Receiver<Wanted>,
    records: Records,
    queue: Queue,
    reports: watch::Sender<Vec<BuildReport>>,
    running: Option<Running>,
}

struct Running {
    cancel: CancellationToken,
    states: mpsc::Receiver<BuildState>,
    task: JoinHandle<Result<BuildResult, Error>>,
}

enum Event {
    Wanted,
    Ended,
    State(BuildState),
    Finished(Result<BuildResult, Error>),
}

impl Task {
    async fn run(mut self) {
        loop {
            self.follow();
            self.save().await;
            self.reports.send_replace(self.queue.reports());
            match next(&mut self.wanted, self.running.as_mut()).await {
                Event::Wanted => {}
                Event::Ended => return,
                Event::State(state) => self.queue.enter(state),
                Event::Finished(result) => self.finish(result),
            }
        }
    }

    /// Does as the newest document says, if there is one.
    fn follow(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let Some(wanted) = wanted else { return };
        let ends = self.queue.follow(&wanted);
        if let Some(running) = self.running.as_ref().filter(|_| ends) {
            running.cancel.cancel();
        }
        if let Some(item) = self.queue.begin(&wanted, Utc::now()) {
            self.running = Some(start(&self.shared, item));
        }
    }

    fn finish(&mut self, result: Result<BuildResult, Error>) {
        self.running = None;
        self.queue.finish(result.map_err(|error| error.problem()));
    }

    /// What a restart of the agent must know, before anybody hears of it.
    async fn save(&mut self) {
        for (id, record) in self.queue.take_unsaved() {
            let saved = match record {
                Some(record) => self.records.store(&record).await,
                None => self.records.remove(id).await,
            };
            if let Err(error) = saved {
                tracing::error!(build = %id, %error, "a build's record was not written; after a restart it would begin again");
            }
        }
    }
}

async fn next(wanted: &mut watch::Receiver<Wanted>, running: Option<&mut Running>) -> Event {
    let Some(running) = running else {
        return changed(wanted).await;
    };
    tokio::select! {
        biased;
        Some(state) = running.states.recv() => Event::State(state),
        ended = &mut running.task => Event::Finished(ended.unwrap_or_else(|source| {
            Err(Error::EndedEarly { doing: "the build's task", source })
        })),
        event = changed(wanted) => event,
    }
}

async fn changed(wanted: &mut watch::Receiver<Wanted>) -> Event {
    match wanted.changed().await {
        Ok(()) => Event::Wanted,
        Err(_) => Event::Ended,
    }
}

fn start(shared: &Arc<Shared>, item: Arc<BuildItem>) -> Running {
    let (sender, states) = mpsc::channel(8);
    let cancel = CancellationToken::new();
    let (log, writer) = log::begin(item.id, Arc::clone(&shared.dependencies.logs));
    let span = span(&item);
    let job = Job {
        shared: Arc::clone(shared),
        item,
        log,
        states: sender,
    };
    let canceled = cancel.clone();
    let work = async move {
        let result = tokio::select! {
            result = Box::pin(job.run()) => result,
            () = canceled.cancelled() => Err(Error::Canceled),
        };
        let (stream, text) = last_line(&result);
        writer.end(stream, &text).await;
        result
    };
    let task = tokio::spawn(work.instrument(span));
    Running {
        cancel,
        states,
        task,
    }
}

/// Continues the trace of the deployment.
fn span(item: &BuildItem) -> tracing::Span {
    let span =
        tracing::info_span!("build image", build = %item.id, deployment = %item.deployment_id);
    if let Some(traceparent) = &item.traceparent {
        telemetry::context::set_parent(&span, traceparent);
    }
    span
}

fn last_line(result: &Result<BuildResult, Error>) -> (Stream, String) {
    match result {
        Ok(result) => (Stream::Stdout, format!("Built {}", result.digest)),
        Err(error) => (
            Stream::Stderr,
            format!("Build failed ({}): {error}", error.code()),
        ),
    }
}
