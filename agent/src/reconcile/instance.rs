//! One instance as the agent knows it: what is wanted, what the engine tells, what the probes say,
//! and what is remembered. Changes come in as facts; nothing here does anything.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use chrono::{DateTime, Utc};
use domain::{
    id::InstanceId,
    instance::{Desired as Wish, State},
};
use protocol::{
    item::{InstanceItem, RunMode},
    report::{InstanceReport, Problem, Usage},
};

use super::{
    Action, Clock, LOGS_GRACE, Outcome, Record,
    exit::{self, Exit},
};
use crate::{
    health::{Run, Verdict},
    restart,
    runtime::{Container, Phase},
};

/// What is wanted of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Goal {
    /// Be there.
    Run(Arc<InstanceItem>),
    /// Be gone.
    Stop,
    /// No document says anything: run on as it is.
    Leave,
}

/// A container on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The stop signal was sent.
    pub since: Instant,
    /// SIGKILL was sent.
    pub killed_at: Option<Instant>,
}

/// An instance that is wanted, or seen, or both.
#[derive(Debug, Clone)]
pub struct Instance {
    /// What is wanted.
    pub goal: Goal,
    /// The newest document lacks it without a cause.
    pub orphaned: bool,
    /// What is remembered across restarts of the agent.
    pub record: Record,
    /// What the engine told last.
    pub container: Option<Container>,
    /// An action is under way.
    pub busy: bool,
    /// An action has ended since the engine was asked.
    pub stale: bool,
    /// The next start of an ended container is not before this.
    pub restart_at: Option<Instant>,
    /// After failed actions: nothing is tried before this.
    pub hold_until: Option<Instant>,
    failed_actions: u32,
    /// On its way out.
    pub ending: Option<Ending>,
    /// The probes have given this run up, for this reason.
    pub dead: Option<Problem>,
    /// Begin of the run, and its end when it has ended.
    began: Option<Instant>,
    ended: Option<Instant>,
    /// Its log lines are still being copied.
    pub followed: bool,
    /// The end of the run whose log was read to its end.
    pub read_until: Option<DateTime<Utc>>,
    /// The newest document has it.
    pub documented_now: bool,
    /// The engine was there all the time since it was asked last.
    watched: bool,
}

impl Instance {
    /// Remembered, not looked at yet.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self {
            goal: Goal::Leave,
            orphaned: false,
            record,
            container: None,
            busy: false,
            stale: true,
            restart_at: None,
            hold_until: None,
            failed_actions: 0,
            ending: None,
            dead: None,
            began: None,
            ended: None,
            followed: false,
            read_until: None,
            documented_now: false,
            watched: false,
        }
    }

    /// What a document's item asks for. What has begun to end is ended, also when a restored database has forgotten that it was
    /// told to: its state does not go back, and a copy that is never ready would be waited for.
    #[must_use]
    pub fn goal_by(&self, item: &Arc<InstanceItem>) -> Goal {
        match item.desired {
            Wish::Run if self.record.state != State::Draining => Goal::Run(Arc::clone(item)),
            Wish::Run | Wish::Stop => Goal::Stop,
        }
    }

    /// What its container does.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.container.as_ref().map(|container| container.phase)
    }

    /// Until when an ended container waits for its log lines; none when they are all here.
    #[must_use]
    pub fn logs_due(&self) -> Option<Instant> {
        self.followed.then_some(self.ended? + LOGS_GRACE)
    }

    /// When a command that runs once must have ended.
    #[must_use]
    pub fn run_until(&self) -> Option<Instant> {
        match &self.goal {
            Goal::Run(item) => match item.run {
                RunMode::Once { timeout } => Some(self.began? + timeout.duration()),
                RunMode::Service { .. } => None,
            },
            _ => None,
        }
    }

    /// Whether this run shall end although the instance is wanted.
    #[must_use]
    pub fn given_up(&self, now: Instant) -> bool {
        self.dead.is_some() || self.run_until().is_some_and(|end| now >= end)
    }

    /// The engine was away, or may have been: until it is asked again, nobody sees what happens.
    pub const fn lose_sight(&mut self) {
        self.watched = false;
    }

    /// The engine was asked.
    pub fn observe(&mut self, container: Option<Container>, clock: Clock) {
        if let Some(container) = &container {
            self.record.launched = true;
            self.record.host_port = container.host_port;
            self.record.image_digest.clone_from(&container.image_digest);
        }
        let known = self.phase();
        self.container = container;
        self.stale = false;
        match self.phase() {
            None => self.record.ready = false,
            Some(Phase::Created | Phase::CutOff) => self.raise(State::Starting),
            Some(Phase::Running { since }) => {
                let is_known = known == self.phase();
                self.observe_run(since, is_known, clock);
            }
            Some(Phase::Ended { at, .. }) if self.record.counted_end != Some(at) => {
                self.observe_end(clock);
            }
            Some(Phase::Ended { .. }) => {
                self.ended.get_or_insert(clock.now);
                self.plan_restart(clock);
            }
        }
        self.watched = true;
    }

    fn observe_run(&mut self, since: DateTime<Utc>, is_known: bool, clock: Clock) {
        self.raise(State::Starting);
        (self.ended, self.restart_at) = (None, None);
        // From then on the time it has run is measured on the monotonic clock.
        self.began = self
            .began
            .filter(|_| is_known)
            .or_else(|| Some(clock.instant_of(since)));
        let probed =
            matches!(&self.goal, Goal::Run(item) if matches!(item.run, RunMode::Service { .. }));
        if !probed {
            self.raise(State::Running);
        }
    }

    /// A run is over: counted once, even if the agent restarts in between.
    fn observe_end(&mut self, clock: Clock) {
        let Some(Phase::Ended {
            since,
            at,
            exit_code,
            out_of_memory,
        }) = self.phase()
        else {
            return;
        };
        let steady = (at - since)
            .to_std()
            .is_ok_and(|ran| ran >= restart::STEADY);
        self.record.failures = if steady {
            1
        } else {
            self.record.failures.saturating_add(1)
        };
        self.record.counted_end = Some(at);
        // Whom the kernel or the agent has ended, is known to have ended so.
        let is_seen = self.watched || out_of_memory || self.ending.is_some();
        self.record.exit_code = exit::known_code(exit_code, is_seen);
        self.record.ready = false;
        self.record.problem = self
            .dead
            .take()
            .or_else(|| self.exit_problem(out_of_memory, clock));
        (self.ending, self.began, self.ended) = (None, None, Some(clock.now));
        self.restart_at = None;
        self.plan_restart(clock);
    }

    fn plan_restart(&mut self, clock: Clock) {
        let delay = restart::after_exit(self.record.failures);
        self.restart_at.get_or_insert(clock.now + delay);
    }

    fn exit_problem(&self, out_of_memory: bool, clock: Clock) -> Option<Problem> {
        let Goal::Run(item) = &self.goal else {
            return None;
        };
        let exit = Exit {
            exit_code: self.record.exit_code,
            out_of_memory,
            timed_out: self.run_until().is_some_and(|end| clock.now >= end),
            failures: self.record.failures,
        };
        exit.problem(item)
    }

    /// A probe of the run that began at `since` has found something out.
    pub fn judge(&mut self, since: DateTime<Utc>, verdict: Verdict) {
        if self.phase() != Some(Phase::Running { since }) || self.ending.is_some() {
            return;
        }
        match verdict {
            Verdict::Starting(problem) => self.still_starting(problem),
            Verdict::Started => {
                self.record.passed = Some(since);
                self.record.problem = None;
                self.raise(State::Running);
            }
            Verdict::Ready => {
                self.record.ready = true;
                self.record.problem = None;
            }
            Verdict::NotReady(problem) => {
                self.record.ready = false;
                self.record.problem = Some(problem);
            }
            Verdict::Dead(problem) => {
                self.record.ready = false;
                self.record.problem = Some(problem.clone());
                self.dead = Some(problem);
            }
        }
    }

    /// Why the run before has ended says more than that this one is not up yet.
    fn still_starting(&mut self, problem: Problem) {
        let known = self.record.problem.as_ref();
        if known.is_none_or(|known| known.code == problem.code) {
            self.record.problem = Some(problem);
        }
    }

    /// An action is about to be done.
    pub fn begin(&mut self, action: Action) {
        self.busy = true;
        match action {
            Action::Create(_) => self.raise(State::Pulling),
            Action::Signal(_) if self.goal == Goal::Stop => self.raise(State::Draining),
            _ => {}
        }
    }

    /// An action has ended.
    pub fn settle(&mut self, outcome: Outcome, clock: Clock) {
        (self.busy, self.stale) = (false, true);
        if let Outcome::Failed(problem) = outcome {
            self.failed_actions = self.failed_actions.saturating_add(1);
            self.hold_until = Some(clock.now + restart::after_failed_action(self.failed_actions));
            self.record.problem = Some(problem);
            return;
        }
        (self.hold_until, self.failed_actions) = (None, 0);
        match outcome {
            Outcome::Created => self.record.problem = None,
            Outcome::Started { again } => {
                self.record.restarts = self.record.restarts.saturating_add(u32::from(again));
            }
            Outcome::Signalled => {
                self.ending = Some(Ending {
                    since: clock.now,
                    killed_at: None,
                });
            }
            Outcome::Killed => {
                if let Some(ending) = &mut self.ending {
                    ending.killed_at = Some(clock.now);
                }
            }
            Outcome::Removed | Outcome::Failed(_) => {}
        }
    }

    /// Its state becomes final.
    pub fn conclude(&mut self, clock: Clock) {
        if matches!(self.goal, Goal::Run(_))
            && let Some(problem) = exit::unknown(self.phase(), &self.record)
        {
            self.record.problem = Some(problem);
        }
        self.record.ready = false;
        self.record.stopped_at = Some(clock.wall);
        self.raise(State::Stopped);
    }

    /// States only rise.
    pub fn raise(&mut self, state: State) {
        self.record.state = self.record.state.max(state);
    }

    /// The run to probe, if there is one now.
    #[must_use]
    pub fn probed_run(&self, instance: InstanceId) -> Option<Run> {
        let (Goal::Run(item), Some(container)) = (&self.goal, &self.container) else {
            return None;
        };
        let (Phase::Running { since }, RunMode::Service { .. }) = (container.phase, &item.run)
        else {
            return None;
        };
        let run = Run {
            instance,
            since,
            target: container.ip.zip(item.port).map(SocketAddr::from),
            startup: None,
            readiness: None,
            liveness: None,
            started: self.record.passed == Some(since),
            ready: self.record.ready,
        };
        Some(run.with_probes(&item.run))
    }

    /// For the control plane and for edges; `node` is the address that host ports are published on.
    #[must_use]
    pub fn report(&self, id: InstanceId, node: IpAddr) -> InstanceReport {
        let running = self.record.state < State::Draining;
        InstanceReport {
            id,
            release_id: self.record.release,
            service_id: self.record.service,
            state: self.record.state,
            ready: self.record.ready && running && self.ending.is_none(),
            restarts: self.record.restarts,
            address: self
                .record
                .host_port
                .filter(|_| {
                    self.record.state >= State::Starting && self.record.state < State::Stopped
                })
                .map(|port| SocketAddr::new(node, port)),
            image_digest: self.record.image_digest.clone(),
            exit_code: self.record.exit_code,
            problem: self.record.problem.clone(),
            usage: Usage::default(),
            orphaned: self.orphaned || !self.record.documented,
            item: None,
        }
    }
}
