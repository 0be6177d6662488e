//! From what is wanted and what runs to what is done next. [`decide`] is pure and makes every choice;
//! `shell` loads the view and applies actions, one at a time for each instance.
//!
//! What it promises, and the tests check: it settles; there are never two containers for one
//! instance; nothing is ended without a cause in its document; nothing is retried hot.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use domain::{id::InstanceId, instance::State};
use protocol::item::{InstanceItem, RunMode};

mod apply;
mod clock;
mod exit;
mod instance;
mod ledger;
mod roster;
mod shell;
#[cfg(test)]
mod tests;

pub use apply::{Context, Outcome, Parts};
pub use clock::Clock;
pub use instance::{Ending, Goal, Instance};
pub use ledger::Record;
pub use roster::Roster;
pub use shell::{Engine, Observed, Shell};

use crate::runtime::Phase;

/// How long an ended container waits for its last log lines to be copied.
const LOGS_GRACE: Duration = Duration::from_secs(10);
/// After SIGKILL, before it is sent again.
const KILL_AGAIN: Duration = Duration::from_secs(10);

/// Everything a decision needs.
#[derive(Debug)]
pub struct View<'a> {
    /// On the node's monotonic clock.
    pub now: Instant,
    /// Wanted or seen, or both.
    pub instances: &'a BTreeMap<InstanceId, Instance>,
    /// No program is started before this.
    pub starts_from: Option<Instant>,
}

impl View<'_> {
    fn next(&self, id: InstanceId, instance: &Instance) -> Next {
        let next = next(id, instance, self.now);
        match self.starts_from.filter(|from| self.now < *from) {
            Some(from) if matches!(next, Next::Act(Action::Start(_))) => Next::WaitUntil(from),
            _ => next,
        }
    }
}

/// What is done about one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Network, image, secrets, port; then a container that does not run yet.
    Create(InstanceId),
    /// Runs it, for the first time or again.
    Start(InstanceId),
    /// The stop signal.
    Signal(InstanceId),
    /// SIGKILL, at the end of the grace.
    Kill(InstanceId),
    /// It has ended for good: its state is final.
    Conclude(InstanceId),
    /// The ended container goes.
    Remove(InstanceId),
}

impl Action {
    /// Whom it is done to.
    #[must_use]
    pub const fn instance(self) -> InstanceId {
        let (Self::Create(id)
        | Self::Start(id)
        | Self::Signal(id)
        | Self::Kill(id)
        | Self::Conclude(id)
        | Self::Remove(id)) = self;
        id
    }
}

/// What is done now.
#[must_use]
pub fn decide(view: &View<'_>) -> Vec<Action> {
    let act = |(id, instance): (&InstanceId, &Instance)| match view.next(*id, instance) {
        Next::Act(action) => Some(action),
        Next::WaitUntil(_) | Next::Rest => None,
    };
    view.instances.iter().filter_map(act).collect()
}

/// When to decide again even if nothing happens.
#[must_use]
pub fn wake_at(view: &View<'_>) -> Option<Instant> {
    let waits = |(id, instance): (&InstanceId, &Instance)| match view.next(*id, instance) {
        Next::WaitUntil(at) => Some(at),
        Next::Act(_) | Next::Rest => None,
    };
    view.instances.iter().filter_map(waits).min()
}

enum Next {
    Act(Action),
    WaitUntil(Instant),
    Rest,
}

fn next(id: InstanceId, instance: &Instance, now: Instant) -> Next {
    if instance.busy || instance.stale {
        return Next::Rest;
    }
    if let Some(at) = instance.hold_until
        && now < at
    {
        return Next::WaitUntil(at);
    }
    match &instance.goal {
        Goal::Leave => Next::Rest,
        Goal::Stop => stop(id, instance, now),
        Goal::Run(item) => run(id, instance, item, now),
    }
}

fn stop(id: InstanceId, instance: &Instance, now: Instant) -> Next {
    let concluded = instance.record.state == State::Stopped;
    match instance.phase() {
        Some(Phase::Running { .. }) => end(id, instance, now),
        Some(Phase::Created | Phase::CutOff) => Next::Act(Action::Remove(id)),
        None | Some(Phase::Ended { .. }) if !concluded => Next::Act(Action::Conclude(id)),
        Some(Phase::Ended { .. }) => match instance.logs_due() {
            Some(due) if now < due => Next::WaitUntil(due),
            _ => Next::Act(Action::Remove(id)),
        },
        None => Next::Rest,
    }
}

fn run(id: InstanceId, instance: &Instance, item: &InstanceItem, now: Instant) -> Next {
    if instance.record.state == State::Stopped {
        return Next::Rest;
    }
    match (instance.phase(), &item.run) {
        (None, RunMode::Once { .. }) if instance.record.launched => Next::Act(Action::Conclude(id)),
        (None, _) => Next::Act(Action::Create(id)),
        (Some(Phase::CutOff), RunMode::Once { .. }) => Next::Act(Action::Conclude(id)),
        (Some(Phase::Created | Phase::CutOff), _) => Next::Act(Action::Start(id)),
        (Some(Phase::Running { .. }), _) if instance.given_up(now) => end(id, instance, now),
        (Some(Phase::Running { .. }), _) => match instance.run_until() {
            Some(end) => Next::WaitUntil(end),
            None => Next::Rest,
        },
        (Some(Phase::Ended { .. }), RunMode::Once { .. }) => Next::Act(Action::Conclude(id)),
        (Some(Phase::Ended { .. }), RunMode::Service { .. }) => match instance.restart_at {
            Some(at) if now < at => Next::WaitUntil(at),
            _ => Next::Act(Action::Start(id)),
        },
    }
}

/// Signal, grace, SIGKILL.
fn end(id: InstanceId, instance: &Instance, now: Instant) -> Next {
    let Some(ending) = instance.ending else {
        return Next::Act(Action::Signal(id));
    };
    let due = match ending.killed_at {
        Some(killed) => killed + KILL_AGAIN,
        None => ending.since + instance.record.draining.duration(),
    };
    if now >= due {
        Next::Act(Action::Kill(id))
    } else {
        Next::WaitUntil(due)
    }
}
