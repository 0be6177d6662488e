//! The life of a deployment, as a pure function. From any state and any order of inputs it ends,
//! or waits on a named thing with a deadline; old instances serve until it shifts.
//!
//! Inputs are observations, not commands: the reconciler may repeat, reorder or drop them.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::acknowledgement::Acknowledgement;
use crate::quantity::Span;

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Waits for an older deployment of the service.
    Queued,
    /// The image is being built.
    Building,
    /// The release is made; the release command runs.
    Releasing,
    /// The scheduler looks for nodes.
    Placing,
    /// Instances come up.
    Starting,
    /// All are ready and run the wanted digest.
    Verifying,
    /// Routes are being written.
    Shifting,
    /// Edges take the routes over.
    Draining,
    /// Serves. Final.
    Live,
    /// Ended with a reason; what served before serves on. Final.
    Failed,
    /// Ended by a person. Final.
    Canceled,
    /// A newer deployment took its place. Final.
    Superseded,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Building,
        Self::Releasing,
        Self::Placing,
        Self::Starting,
        Self::Verifying,
        Self::Shifting,
        Self::Draining,
        Self::Live,
        Self::Failed,
        Self::Canceled,
        Self::Superseded,
    ];

    /// The word in tables, API and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Releasing => "releasing",
            Self::Placing => "placing",
            Self::Starting => "starting",
            Self::Verifying => "verifying",
            Self::Shifting => "shifting",
            Self::Draining => "draining",
            Self::Live => "live",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Superseded => "superseded",
        }
    }

    /// The step of a stored word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Live | Self::Failed | Self::Canceled | Self::Superseded
        )
    }

    /// What it waits for, for people; nothing when final.
    #[must_use]
    pub const fn waits_for(self) -> Option<&'static str> {
        match self {
            Self::Queued => Some("an older deployment of this service"),
            Self::Building => Some("the build"),
            Self::Releasing => Some("the release command"),
            Self::Placing => Some("room on nodes"),
            Self::Starting => Some("instances to start"),
            Self::Verifying => Some("instances to be ready"),
            Self::Shifting => Some("routes to be written"),
            Self::Draining => Some("edges to take the new routes over"),
            Self::Live | Self::Failed | Self::Canceled | Self::Superseded => None,
        }
    }
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, snake_case.
    pub code: String,
    /// What was tried, on what, what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its stable code.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// A deployment's place in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The step.
    pub step: Step,
    /// When waiting in this step has lasted long enough; none only when final.
    pub deadline: Option<DateTime<Utc>>,
    /// When enough edges had taken over while late ones had not.
    pub late_until: Option<DateTime<Utc>>,
    /// What keeps it waiting, or why it failed.
    pub problem: Option<Failure>,
}

/// How long each step may take; from the specification where it has a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The build, with its place in the queue.
    pub build: Span,
    /// The release command.
    pub release: Span,
    /// Placing, and again starting with verifying.
    pub progress: Span,
}

impl Limits {
    const QUEUE: Span = Span::seconds(3_600);
    const SHIFT: Span = Span::seconds(120);
    /// Edges that are not late have this long to take over.
    pub const DRAIN: Span = Span::seconds(15 * 60);
    /// Old instances stay this much longer for late edges.
    pub const LATE_EDGES: Span = Span::seconds(10 * 60);

    const fn of(self, step: Step) -> Option<Span> {
        match step {
            Step::Queued => Some(Self::QUEUE),
            Step::Building => Some(self.build),
            Step::Releasing => Some(self.release),
            Step::Placing | Step::Starting | Step::Verifying => Some(self.progress),
            Step::Shifting => Some(Self::SHIFT),
            Step::Draining => Some(Self::DRAIN),
            Step::Live | Step::Failed | Step::Canceled | Step::Superseded => None,
        }
    }
}

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
    /// Routes point to the new instances.
    Routed,
    /// How far the edges are.
    Edges(Acknowledgement),
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
        Fact::Newer if state.late_until.is_some() => enter(Step::Live, input),
        fact => match answer(state, fact) {
            Answer::Go(next) => enter(next, input),
            Answer::Fail(failure) => end(Step::Failed, Some(failure)),
            Answer::Wait(problem) => wait(state, input, problem),
            Answer::WaitForLate => wait_for_late(state, input),
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
        late_until: None,
        problem: None,
    }
}

enum Answer {
    Go(Step),
    Fail(Failure),
    Wait(Option<Failure>),
    WaitForLate,
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
        (Step::Shifting, Fact::Routed) => Answer::Go(Step::Draining),
        (Step::Draining, Fact::Edges(Acknowledgement::All)) => Answer::Go(Step::Live),
        (Step::Draining, Fact::Edges(Acknowledgement::EnoughButLate)) => Answer::WaitForLate,
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
        Step::Live => vec![Effect::Adopt],
        _ => Vec::new(),
    };
    let state = State {
        step: next,
        deadline: input.limits.of(next).map(|limit| after(input.at, limit)),
        late_until: None,
        problem: None,
    };
    (state, effects)
}

fn end(step: Step, problem: Option<Failure>) -> (State, Vec<Effect>) {
    let state = State {
        step,
        deadline: None,
        late_until: None,
        problem,
    };
    (state, vec![Effect::Abandon])
}

fn wait(state: &State, input: &Input, problem: Option<Failure>) -> (State, Vec<Effect>) {
    let problem = problem.or_else(|| state.problem.clone());
    let passed = |moment: Option<DateTime<Utc>>| moment.is_some_and(|moment| input.at >= moment);
    if passed(state.late_until) {
        return enter(Step::Live, input);
    }
    // A state without a deadline would wait for ever; it counts as overdue.
    if state.late_until.is_none() && (state.deadline.is_none() || passed(state.deadline)) {
        return end(Step::Failed, Some(overdue(state.step, problem)));
    }
    let state = State {
        problem,
        ..state.clone()
    };
    (state, Vec::new())
}

fn wait_for_late(state: &State, input: &Input) -> (State, Vec<Effect>) {
    let until = state
        .late_until
        .unwrap_or_else(|| after(input.at, Limits::LATE_EDGES));
    let state = State {
        late_until: Some(until),
        ..state.clone()
    };
    wait(&state, input, None)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        build: Span::seconds(600),
        release: Span::seconds(300),
        progress: Span::seconds(300),
    };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn input(seconds: i64, fact: Fact) -> Input {
        Input {
            at: at(seconds),
            limits: LIMITS,
            fact,
        }
    }

    fn run(facts: Vec<(i64, Fact)>) -> (State, Vec<Effect>) {
        let mut state = queued(at(0));
        let mut effects = Vec::new();
        for (seconds, fact) in facts {
            let (next, asked) = step(&state, &input(seconds, fact));
            state = next;
            effects.extend(asked);
        }
        (state, effects)
    }

    fn until_draining() -> Vec<(i64, Fact)> {
        vec![
            (1, Fact::Turn { build: true }),
            (2, Fact::Build(Outcome::Succeeded)),
            (3, Fact::Release(Outcome::Succeeded)),
            (4, Fact::Placement(Ok(()))),
            (5, Fact::Running(Ok(()))),
            (6, Fact::Ready(Ok(()))),
            (7, Fact::Routed),
        ]
    }

    #[test]
    fn the_way_to_live() {
        let mut facts = until_draining();
        facts.push((8, Fact::Edges(Acknowledgement::All)));
        let (state, effects) = run(facts);
        assert_eq!(state.step, Step::Live);
        assert_eq!(
            effects,
            [
                Effect::StartBuild,
                Effect::MakeRelease,
                Effect::Place,
                Effect::Route,
                Effect::Adopt
            ]
        );
    }

    #[test]
    fn a_failed_build_ends_it_with_its_reason() {
        let failure = Failure::new("dockerfile_failed", "RUN false exited with 1");
        let (state, effects) = run(vec![
            (1, Fact::Turn { build: true }),
            (2, Fact::Build(Outcome::Failed(failure.clone()))),
        ]);
        assert_eq!((state.step, state.problem), (Step::Failed, Some(failure)));
        assert_eq!(effects, [Effect::StartBuild, Effect::Abandon]);
    }

    #[test]
    fn the_deadline_names_the_last_problem() {
        let problem = Failure::new("startup_probe_failed", "GET /health answered 500");
        let (state, _) = run(vec![
            (1, Fact::Turn { build: false }),
            (2, Fact::Release(Outcome::Succeeded)),
            (3, Fact::Placement(Ok(()))),
            (4, Fact::Running(Err(problem))),
            (400, Fact::Tick),
        ]);
        assert_eq!(state.step, Step::Failed);
        let problem = state.problem.unwrap();
        assert_eq!(problem.code, "startup_probe_failed");
        assert_eq!(
            problem.message,
            "waited too long for instances to start: GET /health answered 500"
        );
    }

    #[test]
    fn without_acknowledgement_draining_fails_after_15_minutes() {
        let mut facts = until_draining();
        facts.push((7 + 899, Fact::Edges(Acknowledgement::Waiting)));
        assert_eq!(run(facts.clone()).0.step, Step::Draining);
        facts.push((7 + 900, Fact::Edges(Acknowledgement::Waiting)));
        let (state, effects) = run(facts);
        assert_eq!(state.step, Step::Failed);
        assert_eq!(effects.last(), Some(&Effect::Abandon));
    }

    #[test]
    fn late_edges_get_ten_minutes_and_a_newer_deployment_does_not_wait_for_them() {
        let mut facts = until_draining();
        facts.push((10, Fact::Edges(Acknowledgement::EnoughButLate)));
        facts.push((10 + 599, Fact::Edges(Acknowledgement::EnoughButLate)));
        assert_eq!(run(facts.clone()).0.step, Step::Draining);
        let mut newer = facts.clone();
        newer.push((10 + 599, Fact::Newer));
        assert_eq!(run(newer).0.step, Step::Live);
        facts.push((10 + 600, Fact::Edges(Acknowledgement::EnoughButLate)));
        assert_eq!(run(facts).0.step, Step::Live);
    }

    #[test]
    fn once_shifting_it_is_neither_canceled_nor_superseded() {
        let mut facts = until_draining();
        facts.extend([(8, Fact::Cancel), (8, Fact::Newer)]);
        assert_eq!(run(facts).0.step, Step::Draining);
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Pending),
            Just(Outcome::Succeeded),
            Just(Outcome::Failed(Failure::new("x", "y")))
        ]
    }

    fn any_result() -> impl Strategy<Value = Result<(), Failure>> {
        prop_oneof![Just(Ok(())), Just(Err(Failure::new("x", "y")))]
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        prop_oneof![
            Just(Fact::Tick),
            any::<bool>().prop_map(|build| Fact::Turn { build }),
            any_outcome().prop_map(Fact::Build),
            any_outcome().prop_map(Fact::Release),
            any_result().prop_map(Fact::Placement),
            any_result().prop_map(Fact::Running),
            any_result().prop_map(Fact::Ready),
            Just(Fact::Hopeless(Failure::new("x", "y"))),
            Just(Fact::Routed),
            prop_oneof![
                Just(Acknowledgement::Waiting),
                Just(Acknowledgement::EnoughButLate),
                Just(Acknowledgement::All)
            ]
            .prop_map(Fact::Edges),
            Just(Fact::Cancel),
            Just(Fact::Newer),
        ]
    }

    fn any_state() -> impl Strategy<Value = State> {
        let moment = prop::option::of((0_i64..10_000).prop_map(at));
        (
            prop::sample::select(&Step::ALL[..]),
            moment.clone(),
            moment,
            prop::option::of(Just(Failure::new("a", "b"))),
        )
            .prop_map(|(step, deadline, late_until, problem)| State {
                step,
                deadline,
                late_until,
                problem,
            })
    }

    proptest! {
        #[test]
        fn from_any_state_and_any_order_of_inputs_it_ends_or_waits_with_a_deadline(
            start in any_state(),
            facts in prop::collection::vec((0_i64..3_000, any_fact()), 0..40),
        ) {
            let mut state = start;
            let mut now = 0;
            for (pause, fact) in facts {
                now += pause;
                let before = state.clone();
                let (next, effects) = step(&state, &input(now, fact));
                state = next;
                if before.step.is_final() {
                    prop_assert_eq!(&state, &before);
                    prop_assert!(effects.is_empty());
                    continue;
                }
                prop_assert!(state.step >= before.step, "a step was taken back");
                if !state.step.is_final() {
                    prop_assert!(state.step.waits_for().is_some());
                    let until = state.late_until.or(state.deadline);
                    prop_assert!(until.is_some_and(|until| until > at(now)));
                }
            }
            let (end, _) = step(&state, &input(now + 10_000_000, Fact::Tick));
            prop_assert!(end.step.is_final());
        }

        #[test]
        fn it_is_live_only_after_verifying_and_abandons_at_most_once(
            facts in prop::collection::vec((0_i64..200, any_fact()), 0..60),
        ) {
            let (mut state, mut now, mut seen, mut abandoned) = (queued(at(0)), 0, vec![], 0);
            for (pause, fact) in facts {
                now += pause;
                let (next, effects) = step(&state, &input(now, fact));
                abandoned += effects.iter().filter(|effect| **effect == Effect::Abandon).count();
                seen.push(next.step);
                state = next;
            }
            prop_assert!(abandoned <= 1);
            if state.step == Step::Live {
                for step in [Step::Verifying, Step::Shifting, Step::Draining] {
                    prop_assert!(seen.contains(&step));
                }
            }
        }
    }

    #[test]
    fn words_read_back() {
        for step in Step::ALL {
            assert_eq!(Step::from_word(step.as_str()), Some(step));
        }
    }
}
