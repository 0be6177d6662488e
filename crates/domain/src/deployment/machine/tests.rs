use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    build: Span::seconds(600),
    release: Span::seconds(300),
    progress: Span::seconds(300),
    draining: Span::seconds(30),
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

fn until_shifting() -> Vec<(i64, Fact)> {
    vec![
        (1, Fact::Turn { build: true }),
        (2, Fact::Build(Outcome::Succeeded)),
        (3, Fact::Release(Outcome::Succeeded)),
        (4, Fact::Placement(Ok(()))),
        (5, Fact::Running(Ok(()))),
        (6, Fact::Ready(Ok(()))),
    ]
}

fn until_draining() -> Vec<(i64, Fact)> {
    let mut facts = until_shifting();
    facts.push((7, Fact::Edges(Acknowledgement::All)));
    facts
}

fn old_ones_drain() -> Fact {
    Fact::Drained(Err(Failure::new("old_instances", "2 old instances")))
}

#[test]
fn the_way_to_live() {
    let mut facts = until_draining();
    facts.extend([(8, old_ones_drain()), (9, Fact::Drained(Ok(())))]);
    let (state, effects) = run(facts);
    assert_eq!((state.step, state.problem), (Step::Live, None));
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
fn without_acknowledgement_shifting_fails_after_15_minutes() {
    let mut facts = until_shifting();
    facts.push((6 + 899, Fact::Edges(Acknowledgement::Waiting)));
    assert_eq!(run(facts.clone()).0.step, Step::Shifting);
    facts.push((6 + 900, Fact::Edges(Acknowledgement::Waiting)));
    let (state, effects) = run(facts);
    assert_eq!(state.step, Step::Failed);
    assert_eq!(effects.last(), Some(&Effect::Abandon));
}

#[test]
fn it_is_adopted_when_punctual_edges_have_it_and_live_when_nothing_older_runs() {
    let mut facts = until_shifting();
    facts.push((7, Fact::Edges(Acknowledgement::EnoughButLate)));
    let (state, effects) = run(facts.clone());
    assert_eq!(state.step, Step::Draining);
    assert_eq!(effects.last(), Some(&Effect::Adopt));
    facts.push((8, old_ones_drain()));
    assert_eq!(run(facts.clone()).0.step, Step::Draining);
    facts.push((9, Fact::Drained(Ok(()))));
    assert_eq!(run(facts).0.step, Step::Live);
}

#[test]
fn what_serves_is_live_in_the_end_even_if_something_old_does_not_stop() {
    let mut facts = until_draining();
    // Late edges' ten minutes, the old release's 30 s, and two minutes more.
    let deadline = 7 + 600 + 30 + 120;
    facts.push((deadline - 1, old_ones_drain()));
    assert_eq!(run(facts.clone()).0.step, Step::Draining);
    facts.push((deadline, old_ones_drain()));
    let (state, effects) = run(facts);
    assert_eq!(state.step, Step::Live);
    assert_eq!(effects.last(), Some(&Effect::Adopt));
    let problem = state.problem.unwrap();
    assert_eq!(
        (problem.code.as_str(), problem.message.as_str()),
        (
            "old_instances",
            "waited too long for old instances to end: 2 old instances"
        )
    );
}

#[test]
fn a_newer_deployment_does_not_wait_for_what_old_instances_finish() {
    let mut facts = until_draining();
    facts.extend([(8, old_ones_drain()), (9, Fact::Newer)]);
    let (state, _) = run(facts);
    assert_eq!((state.step, state.problem), (Step::Live, None));
}

#[test]
fn once_shifting_it_is_neither_canceled_nor_superseded() {
    let mut facts = until_shifting();
    facts.extend([(7, Fact::Cancel), (7, Fact::Newer)]);
    assert_eq!(run(facts.clone()).0.step, Step::Shifting);
    facts.extend([(8, Fact::Edges(Acknowledgement::All)), (9, Fact::Cancel)]);
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
        prop_oneof![
            Just(Acknowledgement::Waiting),
            Just(Acknowledgement::EnoughButLate),
            Just(Acknowledgement::All)
        ]
        .prop_map(Fact::Edges),
        any_result().prop_map(Fact::Drained),
        Just(Fact::Cancel),
        Just(Fact::Newer),
    ]
}

fn any_state() -> impl Strategy<Value = State> {
    (
        prop::sample::select(&Step::ALL[..]),
        prop::option::of((0_i64..10_000).prop_map(at)),
        prop::option::of(Just(Failure::new("a", "b"))),
    )
        .prop_map(|(step, deadline, problem)| State {
            step,
            deadline,
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
        let mut serves = state.step == Step::Draining;
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
            prop_assert!(!(serves && effects.contains(&Effect::Abandon)), "what serves was abandoned");
            serves |= effects.contains(&Effect::Adopt);
            prop_assert!(state.step >= before.step, "a step was taken back");
            if !state.step.is_final() {
                prop_assert!(state.step.waits_for().is_some());
                prop_assert!(state.deadline.is_some_and(|until| until > at(now)));
            }
        }
        let (end, _) = step(&state, &input(now + 10_000_000, Fact::Tick));
        prop_assert!(end.step.is_final());
        prop_assert!(!serves || end.step == Step::Live, "what serves ended as {:?}", end.step);
    }

    #[test]
    fn it_is_live_only_after_draining_and_is_either_adopted_or_abandoned_once(
        facts in prop::collection::vec((0_i64..200, any_fact()), 0..60),
    ) {
        let (mut state, mut now, mut seen, mut asked) = (queued(at(0)), 0, vec![], vec![]);
        for (pause, fact) in facts {
            now += pause;
            let (next, effects) = step(&state, &input(now, fact));
            asked.extend(effects);
            seen.push(next.step);
            state = next;
        }
        let count = |effect| asked.iter().filter(|asked| **asked == effect).count();
        prop_assert!(count(Effect::Adopt) + count(Effect::Abandon) <= 1);
        prop_assert_eq!(count(Effect::Adopt) == 1, state.step == Step::Draining || state.step == Step::Live);
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
        assert_eq!(step.as_str().parse(), Ok(step));
    }
    assert!("lively".parse::<Step>().is_err());
}
