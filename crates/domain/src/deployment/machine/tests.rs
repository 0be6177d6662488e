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
