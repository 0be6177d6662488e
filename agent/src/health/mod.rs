//! Probes: startup once, then readiness and liveness side by side, against the container's own
//! address. What they find goes to the reconciler as [`Event`]s; a verdict always
//! says which run of the container it is about.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use domain::{id::InstanceId, quantity::Span, spec::Probe};
use protocol::{item::RunMode, report::Problem};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

mod probe;

pub use probe::{Failure, Prober};

/// Nothing is probed more often, whatever a document says.
const INTERVAL_MIN: Span = Span::milliseconds(10);
/// Nothing about a probe lasts longer.
const SPAN_MAX: Span = Span::seconds(24 * 60 * 60);
/// More failures in a row are never waited for.
const FAILURES_MAX: u32 = 100_000;

/// One run of one container, and how its health is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whose container.
    pub instance: InstanceId,
    /// Start of the run.
    pub since: DateTime<Utc>,
    /// Where it listens; none for a worker.
    pub target: Option<SocketAddr>,
    /// Passes once first.
    pub startup: Option<Probe>,
    /// Decides `ready`.
    pub readiness: Option<Probe>,
    /// Decides about restarts.
    pub liveness: Option<Probe>,
    /// The startup probe of this run has passed already (the agent was restarted).
    pub started: bool,
    /// What was known last.
    pub ready: bool,
}

impl Run {
    /// With the probes of an item; a command that runs once has none.
    #[must_use]
    pub fn with_probes(mut self, mode: &RunMode) -> Self {
        if let RunMode::Service {
            startup,
            readiness,
            liveness,
        } = mode
        {
            self.startup.clone_from(startup);
            self.readiness.clone_from(readiness);
            self.liveness.clone_from(liveness);
        }
        self
    }
}

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose container.
    pub instance: InstanceId,
    /// Which run.
    pub since: DateTime<Utc>,
    /// What.
    pub verdict: Verdict,
}

/// What a probe found out about one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The startup probe does not pass; it is tried again.
    Starting(Problem),
    /// The startup probe has passed.
    Started,
    /// Requests may come.
    Ready,
    /// Requests may not come.
    NotReady(Problem),
    /// This run is given up: end it and start anew.
    Dead(Problem),
}

/// Watches a run until the handle is dropped.
pub fn watch(
    prober: Arc<Prober>,
    mut run: Run,
    events: mpsc::Sender<Event>,
) -> AbortOnDropHandle<()> {
    let probes = [&mut run.startup, &mut run.readiness, &mut run.liveness];
    probes.into_iter().flatten().for_each(keep_within_reason);
    let watcher = Watcher {
        prober,
        run,
        events,
    };
    AbortOnDropHandle::new(tokio::spawn(watcher.watch()))
}

/// A feed that is right in form can still say that a probe is made all the time, or for ages: neither
/// may cost this node its CPU, or a sum its range.
fn keep_within_reason(probe: &mut Probe) {
    probe.interval = probe.interval.clamp(INTERVAL_MIN, SPAN_MAX);
    probe.timeout = probe.timeout.min(SPAN_MAX);
    probe.failures = probe.failures.min(FAILURES_MAX);
}

struct Watcher {
    prober: Arc<Prober>,
    run: Run,
    events: mpsc::Sender<Event>,
}

impl Watcher {
    async fn watch(self) {
        if !self.run.started {
            if let Err(problem) = self.start().await {
                self.tell(Verdict::Dead(problem)).await;
                return;
            }
            self.tell(Verdict::Started).await;
        }
        tokio::join!(self.readiness(), self.liveness());
    }

    /// Until the startup probe passes, at most its interval times its failures.
    async fn start(&self) -> Result<(), Problem> {
        let (Some(probe), Some(target)) = (&self.run.startup, self.run.target) else {
            return Ok(());
        };
        let limit = probe.interval.duration() * probe.failures.max(1);
        let mut deadline = Instant::now() + limit;
        let mut told = None;
        loop {
            let next = Instant::now() + probe.interval.duration();
            match self.prober.check(probe, target).await {
                Ok(()) => return Ok(()),
                Err(Failure::Exhausted { .. }) => {
                    deadline += probe.interval.duration();
                    tokio::time::sleep_until(next).await;
                }
                Err(failure) if next > deadline => return Err(startup_failed(&failure, limit)),
                Err(failure) => {
                    if told.as_ref() != Some(&failure) {
                        self.tell(Verdict::Starting(startup_failing(&failure)))
                            .await;
                        told = Some(failure);
                    }
                    tokio::time::sleep_until(next).await;
                }
            }
        }
    }

    async fn readiness(&self) {
        let (Some(probe), Some(target)) = (&self.run.readiness, self.run.target) else {
            self.tell(Verdict::Ready).await;
            return;
        };
        let mut row = Row::new(self.run.ready, probe.failures);
        loop {
            let next = Instant::now() + probe.interval.duration();
            let result = self.prober.check(probe, target).await;
            if let Some(ready) = row.take(&result) {
                self.tell(match result {
                    Err(failure) if !ready => Verdict::NotReady(not_ready(&failure, probe)),
                    _ => Verdict::Ready,
                })
                .await;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn liveness(&self) {
        let (Some(probe), Some(target)) = (&self.run.liveness, self.run.target) else {
            return;
        };
        let mut row = Row::new(true, probe.failures);
        loop {
            let next = Instant::now() + probe.interval.duration();
            let result = self.prober.check(probe, target).await;
            if row.take(&result) == Some(false)
                && let Err(failure) = result
            {
                self.tell(Verdict::Dead(not_alive(&failure, probe))).await;
                return;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn tell(&self, verdict: Verdict) {
        let event = Event {
            instance: self.run.instance,
            since: self.run.since,
            verdict,
        };
        if self.events.send(event).await.is_err() {
            tracing::debug!("nobody listens to probes any more: the agent ends");
        }
    }
}

/// One success makes good; only `limit` failures in a row make bad.
struct Row {
    good: bool,
    failures: u32,
    limit: u32,
}

impl Row {
    const fn new(good: bool, limit: u32) -> Self {
        Self {
            good,
            failures: 0,
            limit,
        }
    }

    /// `Some` when the judgement changes. A check that could not be made is none.
    fn take(&mut self, result: &Result<(), Failure>) -> Option<bool> {
        match result {
            Err(Failure::Exhausted { .. }) => None,
            result => self.add(result.is_ok()),
        }
    }

    fn add(&mut self, success: bool) -> Option<bool> {
        self.failures = if success {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let good = success || (self.good && self.failures < self.limit.max(1));
        (std::mem::replace(&mut self.good, good) != good).then_some(good)
    }
}

fn startup_failed(failure: &Failure, limit: Duration) -> Problem {
    let message = format!(
        "the startup probe did not pass within {} s: {failure}; {}",
        limit.as_secs(),
        advice(failure)
    );
    problem("startup_probe_failed", message)
}

fn startup_failing(failure: &Failure) -> Problem {
    let message = format!(
        "the startup probe does not pass: {failure}; {}",
        advice(failure)
    );
    problem("startup_probe_failing", message)
}

fn advice(failure: &Failure) -> String {
    match failure {
        Failure::Refused { port } => format!(
            "make the program listen on 0.0.0.0:$PORT (PORT is {port}), or set network.port to the port it listens on"
        ),
        _ => "see the service's logs; deploy.startup sets path and timeout".to_owned(),
    }
}

fn not_ready(failure: &Failure, probe: &Probe) -> Problem {
    let message = format!(
        "the readiness probe failed {} times in a row: {failure}; no requests are sent to it",
        probe.failures
    );
    problem("readiness_probe_failed", message)
}

fn not_alive(failure: &Failure, probe: &Probe) -> Problem {
    let message = format!(
        "the liveness probe failed {} times in a row: {failure}; it is restarted",
        probe.failures
    );
    problem("liveness_probe_failed", message)
}

fn problem(code: &str, message: String) -> Problem {
    Problem {
        code: code.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_make_bad_and_one_success_makes_good() {
        let mut row = Row::new(true, 3);
        let answers = [false, false, true, false, false, false, false, true, true];
        let changes: Vec<Option<bool>> = answers.into_iter().map(|ok| row.add(ok)).collect();
        let mut expected = vec![None; 9];
        expected[5] = Some(false);
        expected[7] = Some(true);
        assert_eq!(changes, expected);
    }

    #[test]
    fn checks_that_could_not_be_made_judge_nobody() {
        let (mut row, port) = (Row::new(true, 2), 80);
        let exhausted = || Err(Failure::Exhausted { port });
        let results = [
            exhausted(),
            exhausted(),
            exhausted(),
            Err(Failure::Refused { port }),
        ];
        assert!(results.iter().all(|result| row.take(result).is_none()));
        assert_eq!(row.take(&Err(Failure::Refused { port })), Some(false));
    }

    #[tokio::test]
    async fn what_keeps_a_run_from_starting_is_told_once_while_it_is_tried_again() {
        telemetry::init_crypto();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = closed.local_addr().unwrap();
        drop(closed);
        let startup = Probe {
            path: None,
            interval: "20ms".parse().unwrap(),
            timeout: "1s".parse().unwrap(),
            failures: 5,
        };
        let run = Run {
            instance: InstanceId::new(),
            since: Utc::now(),
            target: Some(target),
            startup: Some(startup),
            readiness: None,
            liveness: None,
            started: false,
            ready: false,
        };
        let (events, mut told) = mpsc::channel(8);
        let _watch = watch(Arc::new(Prober::new().unwrap()), run, events);
        let codes =
            [told.recv().await, told.recv().await].map(|event| match event.unwrap().verdict {
                Verdict::Starting(problem) | Verdict::Dead(problem) => problem.code,
                other => panic!("{other:?} of a port that nobody listens on"),
            });
        assert_eq!(codes, ["startup_probe_failing", "startup_probe_failed"]);
    }

    #[test]
    fn probes_out_of_all_proportion_are_brought_within_reason() {
        let absurd = |number: u64, failures| Probe {
            path: None,
            interval: Span::milliseconds(number),
            timeout: Span::milliseconds(number),
            failures,
        };
        let mut endless = absurd(u64::MAX, u32::MAX);
        keep_within_reason(&mut endless);
        let limit = endless.interval.duration() * endless.failures;
        assert!(Instant::now().checked_add(limit).is_some());
        let mut hot = absurd(0, 0);
        keep_within_reason(&mut hot);
        assert_eq!(hot.interval, INTERVAL_MIN);
    }

    #[test]
    fn a_port_nobody_listens_on_says_what_to_set() {
        let problem = startup_failed(&Failure::Refused { port: 8080 }, Duration::from_secs(300));
        assert_eq!(problem.code, "startup_probe_failed");
        insta::assert_snapshot!(problem.message);
    }
}
