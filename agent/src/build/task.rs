//! The builder's task: one build at a time, the oldest first, level-triggered by the feed.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

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
    record::{Record, Records},
};

/// Builds that wait; later ones fail at once with a code.
const QUEUE_MAX: usize = 100;

/// Spawns the task.
pub fn spawn(
    shared: Shared,
    wanted: watch::Receiver<Wanted>,
    records: Records,
    builds: BTreeMap<BuildId, Record>,
) -> watch::Receiver<Vec<BuildReport>> {
    let (reports, receiver) = watch::channel(reports_of(&builds));
    let task = Task {
        shared: Arc::new(shared),
        wanted,
        records,
        builds,
        unsaved: BTreeSet::new(),
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
    builds: BTreeMap<BuildId, Record>,
    /// Whose records on disk are old.
    unsaved: BTreeSet<BuildId>,
    reports: watch::Sender<Vec<BuildReport>>,
    running: Option<Running>,
}

struct Running {
    id: BuildId,
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
            self.reconcile();
            self.begin_next();
            self.save().await;
            self.reports.send_replace(reports_of(&self.builds));
            match next(&mut self.wanted, self.running.as_mut()).await {
                Event::Wanted => {}
                Event::Ended => return,
                Event::State(state) => self.enter(state),
                Event::Finished(result) => self.finish(result),
            }
        }
    }

    /// Makes the records follow the feed.
    fn reconcile(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let Some(wanted) = wanted else { return };
        self.forget_others(&wanted);
        for item in wanted.values() {
            if let btree_map::Entry::Vacant(entry) = self.builds.entry(item.id) {
                entry.insert(Record::new(item.id));
            }
            if item.cancel {
                self.cancel(item.id);
            }
        }
        self.shorten_queue();
    }

    fn forget_others(&mut self, wanted: &BTreeMap<BuildId, Arc<BuildItem>>) {
        let gone: Vec<BuildId> = self
            .builds
            .keys()
            .filter(|id| !wanted.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            if self.is_running(id) {
                self.cancel(id);
                continue;
            }
            self.builds.remove(&id);
            self.unsaved.insert(id);
        }
    }

    fn is_running(&self, id: BuildId) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.id == id)
    }

    fn cancel(&mut self, id: BuildId) {
        match self.running.as_ref() {
            Some(running) if running.id == id => running.cancel.cancel(),
            _ => self.fail_waiting(id, &Error::Canceled),
        }
    }

    fn fail_waiting(&mut self, id: BuildId, error: &Error) {
        let waits = |record: &&mut Record| !record.is_ended();
        if let Some(record) = self.builds.get_mut(&id).filter(waits) {
            record.report.state = BuildState::Failed {
                problem: error.problem(),
            };
            self.unsaved.insert(id);
        }
    }

    fn shorten_queue(&mut self) {
        let waiting = self.builds.values().filter(|record| !record.is_ended());
        let late: Vec<BuildId> = waiting
            .map(|record| record.report.id)
            .skip(QUEUE_MAX)
            .filter(|id| !self.is_running(*id))
            .collect();
        for id in late {
            self.fail_waiting(id, &Error::QueueFull { limit: QUEUE_MAX });
        }
    }

    /// Ids sort by time: the first one is the oldest.
    fn begin_next(&mut self) {
        if self.running.is_some() {
            return;
        }
        let wanted = self.wanted.borrow();
        let next = self
            .builds
            .values_mut()
            .filter(|record| !record.is_ended())
            .find_map(|record| {
                let item = wanted.as_ref()?.get(&record.report.id)?;
                Some((Arc::clone(item), record))
            });
        if let Some((item, record)) = next {
            record.begin(Utc::now());
            self.unsaved.insert(item.id);
            self.running = Some(start(&self.shared, item));
        }
    }

    fn enter(&mut self, state: BuildState) {
        let id = self.running.as_ref().map(|running| running.id);
        if let Some(record) = id.and_then(|id| self.builds.get_mut(&id)) {
            record.report.state = state;
        }
    }

    fn finish(&mut self, result: Result<BuildResult, Error>) {
        let Some(running) = self.running.take() else {
            return;
        };
        if let Some(record) = self.builds.get_mut(&running.id) {
            record.report.state = match result {
                Ok(result) => BuildState::Succeeded(result),
                Err(error) => BuildState::Failed {
                    problem: error.problem(),
                },
            };
            self.unsaved.insert(running.id);
        }
    }

    /// What a restart of the agent must know, before anybody hears of it.
    async fn save(&mut self) {
        for id in std::mem::take(&mut self.unsaved) {
            let saved = match self.builds.get(&id) {
                Some(record) => self.records.store(record).await,
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
    let (id, span) = (item.id, span(&item));
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
        id,
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

fn reports_of(builds: &BTreeMap<BuildId, Record>) -> Vec<BuildReport> {
    builds
        .values()
        .map(|record| record.report.clone())
        .collect()
}
