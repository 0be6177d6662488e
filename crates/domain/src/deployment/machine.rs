//! The life of a deployment, as a pure function. From any state and any order of inputs it ends,
//! or waits on a named thing with a deadline. Until every punctual edge has taken it over it can be
//! taken back; from then on it serves, and can only become live.
//!
//! Inputs are observations, not commands: the reconciler may repeat, reorder or drop them.

mod state;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};

pub use state::{Failure, Limits, State, Step, UnknownStep};

use super::acknowledgement::Acknowledgement;
use crate::quantity::Span;

/// An observation, when it was made, and the limits that apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The database's time.
    pub at: DateTime<Utc>,
    /// How long steps may take.
    pub limits: Limits,
    /// What was seen.
    pub fact: Fact,
}

/// How far something with one result is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not over.
    Pending,
    /// Over, well.
    Succeeded,
    /// Over, not well.
    Failed(Failure),
}

/// What can be observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Only time has passed.
    Tick,
    /// No older deployment of the service is at work.
    Turn {
        /// There is no image yet.
        build: bool,
    },
    /// Of the build.
    Build(Outcome),
    /// Of making the release and running its command.
    Release(Outcome),
    /// Every instance has a node, or why not.
    Placement(Result<(), Failure>),
    /// All instances run, or what keeps one from it.
    Running(Result<(), Failure>),
    /// All instances are ready with the wanted digest, or what keeps one from it.
    Ready(Result<(), Failure>),
    /// An instance will never run: no use to wait for the deadline.
    Hopeless(Failure),
    /// How far the edges are.
    Edges(Acknowledgement),
    /// All older instances have ended, or which have not.
    Drained(Result<(), Failure>),
    /// A person wants it ended.
    Cancel,
    /// A newer deployment of the service waits.
    Newer,
}

/// What a change of step asks the reconciler to do, in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Make the build.
    StartBuild,
    /// Make the release from image, specification and variables; start its command if it has one.
    MakeRelease,
    /// Make it the service's target, and ask the scheduler.
    Place,
    /// Point the service's routes to the new instances.
    Route,
    /// Make it the current one; let the old instances go.
    Adopt,
    /// End its build and its instances; routes go back to what served before.
    Abandon,
}

/// The next state, and what has to be done to be in it.
#[must_use]
pub fn step(state: &State, input: &Input) -> (State, Vec<Effect>) {
    if state.step.is_final() {
        return (state.clone(), Vec::new());
    }
    match &input.fact {
        Fact::Cancel if state.step < Step::Shifting => end(Step::Canceled, None),
        Fact::Newer if state.step < Step::Shifting => end(Step::Superseded, None),
        // It serves: a newer one, perhaps the way back, does not wait for what the old ones finish.
        Fact::Newer if state.step == Step::Draining => enter(Step::Live, input),
        fact => match answer(state, fact) {
            Answer::Go(next) => enter(next, input),
            Answer::Fail(failure) => end(Step::Failed, Some(failure)),
            Answer::Wait(problem) => wait(state, input, problem),
            Answer::Ignore => wait(state, input, None),
        },
    }
}

/// A new deployment's state.
#[must_use]
pub fn queued(at: DateTime<Utc>) -> State {
    State {
        step: Step::Queued,
        deadline: Some(after(at, Limits::QUEUE)),
        problem: None,
    }
}

enum Answer {
    Go(Step),
    Fail(Failure),
    Wait(Option<Failure>),
    Ignore,
}

fn answer(state: &State, fact: &Fact) -> Answer {
    match (state.step, fact) {
        (Step::Queued, Fact::Turn { build: true }) => Answer::Go(Step::Building),
        (Step::Queued, Fact::Turn { build: false }) => Answer::Go(Step::Releasing),
        (Step::Building, Fact::Build(outcome)) => of(outcome, Step::Releasing),
        (Step::Releasing, Fact::Release(outcome)) => of(outcome, Step::Placing),
        (Step::Placing, Fact::Placement(result)) => when(result, Step::Starting),
        (Step::Starting, Fact::Running(result)) => when(result, Step::Verifying),
        (Step::Verifying, Fact::Ready(result)) => when(result, Step::Shifting),
        (Step::Placing | Step::Starting | Step::Verifying, Fact::Hopeless(failure)) => {
            Answer::Fail(failure.clone())
        }
        (Step::Shifting, Fact::Edges(Acknowledgement::All | Acknowledgement::EnoughButLate)) => {
            Answer::Go(Step::Draining)
        }
        (Step::Draining, Fact::Drained(result)) => when(result, Step::Live),
        _ => Answer::Ignore,
    }
}

fn of(outcome: &Outcome, next: Step) -> Answer {
    match outcome {
        Outcome::Pending => Answer::Wait(None),
        Outcome::Succeeded => Answer::Go(next),
        Outcome::Failed(failure) => Answer::Fail(failure.clone()),
    }
}

fn when(result: &Result<(), Failure>, next: Step) -> Answer {
    match result {
        Ok(()) => Answer::Go(next),
        Err(problem) => Answer::Wait(Some(problem.clone())),
    }
}

fn enter(next: Step, input: &Input) -> (State, Vec<Effect>) {
    let effects = match next {
        Step::Building => vec![Effect::StartBuild],
        Step::Releasing => vec![Effect::MakeRelease],
        Step::Placing => vec![Effect::Place],
        Step::Shifting => vec![Effect::Route],
        Step::Draining => vec![Effect::Adopt],
        _ => Vec::new(),
    };
    let state = State {
        step: next,
        deadline: input.limits.of(next).map(|limit| after(input.at, limit)),
        problem: None,
    };
    (state, effects)
}

fn end(step: Step, problem: Option<Failure>) -> (State, Vec<Effect>) {
    let state = State {
        step,
        deadline: None,
        problem,
    };
    (state, vec![Effect::Abandon])
}

fn wait(state: &State, input: &Input, problem: Option<Failure>) -> (State, Vec<Effect>) {
    let problem = problem.or_else(|| state.problem.clone());
    // A state without a deadline would wait for ever; it counts as overdue.
    if state.deadline.is_none_or(|deadline| input.at >= deadline) {
        return give_up(state.step, input, problem);
    }
    let state = State {
        problem,
        ..state.clone()
    };
    (state, Vec::new())
}

/// What serves already is not taken back because something old does not end.
fn give_up(step: Step, input: &Input, problem: Option<Failure>) -> (State, Vec<Effect>) {
    let problem = Some(overdue(step, problem));
    if step < Step::Draining {
        return end(Step::Failed, problem);
    }
    let (live, effects) = enter(Step::Live, input);
    (State { problem, ..live }, effects)
}

fn overdue(step: Step, problem: Option<Failure>) -> Failure {
    let waited = step.waits_for().unwrap_or("nothing");
    match problem {
        Some(problem) => Failure {
            message: format!("waited too long for {waited}: {}", problem.message),
            code: problem.code,
        },
        None => Failure::new(
            &format!("{}_timed_out", step.as_str()),
            format!("waited too long for {waited}"),
        ),
    }
}

fn after(at: DateTime<Utc>, span: Span) -> DateTime<Utc> {
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    TimeDelta::try_milliseconds(millis)
        .and_then(|delta| at.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
