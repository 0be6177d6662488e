use domain::id::NodeId;
use proptest::prelude::*;

use super::*;

const SOAK: i64 = 600;

fn edge(name: &str) -> EdgeView {
    let requests = Counts {
        requests: 10_000,
        failed: 10,
        unrouted: 100,
        items_refused: 0,
    };
    EdgeView {
        node: NodeId::new(),
        name: name.into(),
        late: false,
        reported_at: None,
        applied: true,
        restarted: false,
        before: requests,
        after: Counts::default(),
    }
}

/// Version 2 is to follow version 1, which one edge in each ring has served by for long.
fn view() -> View {
    let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let ring = |ring: Ring| RingView {
        ring,
        version: 1,
        rendered_at: Some(now),
        soaking_since: Some(now - TimeDelta::days(1)),
        counted_at: Some(now - TimeDelta::days(1)),
        edges: vec![edge(ring.as_str())],
    };
    View {
        newest: 2,
        rollout: Rollout {
            version: 1,
            state: Progress::Done,
            problem: None,
            since: now,
            epoch: Epoch(7),
        },
        epoch: Epoch(7),
        rings: Ring::ORDER.map(ring).into(),
        soak: Span::seconds(600),
        now,
    }
}

/// Nothing is known of how its edges serve.
fn begin_anew(ring: &mut RingView) {
    (ring.rendered_at, ring.soaking_since, ring.counted_at) = (None, None, None);
}

fn find(view: &mut View, ring: Ring) -> &mut RingView {
    view.rings
        .iter_mut()
        .find(|found| found.ring == ring)
        .unwrap()
}

/// What the store does at an action.
fn apply(view: &mut View, action: &Action) {
    let (version, now) = (view.rollout.version, view.now);
    match action {
        Action::BeginAnew => {
            for ring in &mut view.rings {
                if view.rollout.state == Progress::Running && ring.version == version {
                    ring.version -= 1;
                }
                begin_anew(ring);
                for edge in &mut ring.edges {
                    edge.applied = false;
                }
            }
            view.rollout.epoch = view.epoch;
        }
        Action::Start => {
            view.rollout.version = view.newest;
            view.rollout.state = Progress::Running;
        }
        Action::Advance(ring) => {
            let ring = find(view, *ring);
            ring.version = version;
            begin_anew(ring);
            for edge in &mut ring.edges {
                (edge.applied, edge.after) = (false, Counts::default());
            }
        }
        Action::Render(ring) => find(view, *ring).rendered_at = Some(now),
        Action::Soak(ring) => {
            let ring = find(view, *ring);
            (ring.soaking_since, ring.counted_at) = (Some(now), None);
        }
        Action::Count(ring) => {
            let ring = find(view, *ring);
            ring.counted_at = Some(now);
            for edge in &mut ring.edges {
                edge.restarted = false;
            }
        }
        Action::Stop(problem) => {
            view.rollout.state = Progress::Stopped;
            view.rollout.problem = Some(problem.clone());
            for ring in view.rings.iter_mut().filter(|ring| ring.version == version) {
                ring.version = version - 1;
                begin_anew(ring);
            }
        }
        Action::Finish => view.rollout.state = Progress::Done,
    }
}

/// One turn of the reconciler, after which edges apply what is there for them and say how they fare.
fn turn(view: &mut View) -> Vec<Action> {
    let actions = decide(view);
    for action in &actions {
        apply(view, action);
    }
    for ring in &mut view.rings {
        for edge in &mut ring.edges {
            edge.applied |= ring.rendered_at.is_some() && !edge.late;
        }
    }
    view.now += TimeDelta::seconds(60);
    for edge in view.rings.iter_mut().flat_map(|ring| &mut ring.edges) {
        edge.reported_at = Some(view.now);
    }
    actions
}

#[test]
fn a_good_version_goes_from_ring_to_ring_each_after_its_soak_time() {
    let mut view = view();
    let taken: Vec<Action> = (0..60).flat_map(|_| turn(&mut view)).collect();
    let of = |ring| {
        [
            Action::Advance(ring),
            Action::Render(ring),
            Action::Soak(ring),
            Action::Count(ring),
        ]
    };
    let expected: Vec<Action> = [Action::Start]
        .into_iter()
        .chain(Ring::ORDER.into_iter().flat_map(of))
        .chain([Action::Finish])
        .collect();
    assert_eq!(taken, expected);
    assert!(view.rings.iter().all(|ring| ring.version == 2));
    assert_eq!(view.rollout.state, Progress::Done);
}

/// Up to the canary's soak time.
fn in_canary() -> View {
    let mut view = view();
    while !turn(&mut view).contains(&Action::Soak(Ring::Canary)) {}
    view
}

#[test]
fn in_a_new_epoch_it_begins_with_the_first_ring_again() {
    let mut view = in_canary();
    view.epoch = Epoch(8);
    let of_all = |action: fn(Ring) -> Action| Ring::ORDER.map(action);
    let begun = [
        vec![Action::BeginAnew],
        of_all(Action::Render).into(),
        of_all(Action::Soak).into(),
        of_all(Action::Count).into(),
    ]
    .concat();
    let taken: Vec<Action> = begun.iter().flat_map(|_| turn(&mut view)).collect();
    assert_eq!(taken, begun);
    let rest: Vec<Action> = (0..60).flat_map(|_| turn(&mut view)).collect();
    assert_eq!(rest.first(), Some(&Action::Advance(Ring::Canary)));
    assert_eq!(rest.last(), Some(&Action::Finish));

    view.epoch = Epoch(9);
    let again: Vec<Action> = (0..12).flat_map(|_| turn(&mut view)).collect();
    assert_eq!(again, begun, "what is through stays");
}

#[test]
fn a_bad_version_stops_at_the_canary_and_goes_back() {
    let bad: [fn(&mut Counts); 3] = [
        |after| (after.requests, after.failed) = (1_000, 40),
        |after| (after.requests, after.unrouted) = (1_000, 40),
        |after| after.items_refused = 1,
    ];
    for spoil in bad {
        let mut view = in_canary();
        spoil(&mut find(&mut view, Ring::Canary).edges[0].after);
        let Action::Stop(problem) = &turn(&mut view)[0] else {
            panic!("it goes on");
        };
        assert!(
            problem.starts_with("edge canary of ring canary"),
            "{problem}"
        );
        assert_eq!(turn(&mut view), [Action::Render(Ring::Canary)]);
        assert_eq!(turn(&mut view), [Action::Soak(Ring::Canary)]);
        assert_eq!(turn(&mut view), [Action::Count(Ring::Canary)]);
        for _ in 0..100 {
            assert_eq!(turn(&mut view), []);
        }
        assert!(view.rings.iter().all(|ring| ring.version == 1));
    }
}

#[test]
fn a_ring_that_goes_back_is_there_before_it_is_its_turn_again() {
    let mut view = in_canary();
    let began = view.now;
    let edge = |view: &mut View, applied, items_refused| {
        let edge = &mut find(view, Ring::Canary).edges[0];
        (edge.applied, edge.after.items_refused) = (applied, items_refused);
    };
    edge(&mut view, true, 5);
    let stopped = decide(&view);
    assert!(matches!(stopped[..], [Action::Stop(_)]), "{stopped:?}");
    apply(&mut view, &stopped[0]);
    // Somebody resumes it while the edge still refuses what it had.
    view.rollout.state = Progress::Running;
    apply(&mut view, &Action::Render(Ring::Canary));
    edge(&mut view, false, 5);
    assert_eq!(decide(&view), []);
    edge(&mut view, true, 0);
    assert_eq!(decide(&view), [Action::Soak(Ring::Canary)]);
    apply(&mut view, &Action::Soak(Ring::Canary));
    let said = |view: &mut View, after: i64| {
        let edge = &mut find(view, Ring::Canary).edges[0];
        edge.reported_at = Some(began + TimeDelta::seconds(after));
    };
    said(&mut view, -1);
    assert_eq!(decide(&view), [], "what it said last is from before");
    said(&mut view, 1);
    assert_eq!(decide(&view), [Action::Count(Ring::Canary)]);
    apply(&mut view, &Action::Count(Ring::Canary));
    assert_eq!(decide(&view), [], "how it fares by that is what counts");
    view.now += TimeDelta::seconds(SOAK);
    assert_eq!(decide(&view), [Action::Advance(Ring::Canary)]);
    // One that reports and never comes holds nobody up for ever.
    edge(&mut view, false, 5);
    find(&mut view, Ring::Canary).soaking_since = None;
    view.now += TimeDelta::minutes(20);
    assert_eq!(decide(&view), [Action::Advance(Ring::Canary)]);
}

#[test]
fn what_was_as_bad_before_and_a_handful_of_failures_stop_nothing() {
    for (before, after) in [
        ((300, 10_000), (30, 1_000)),
        ((0, 0), (9, 9)),
        ((0, 10_000), (9, 1_000)),
    ] {
        let mut view = in_canary();
        let edge = &mut find(&mut view, Ring::Canary).edges[0];
        (edge.before.failed, edge.before.requests) = before;
        (edge.after.failed, edge.after.requests) = after;
        assert!(!matches!(turn(&mut view)[..], [Action::Stop(_)]));
    }
}

#[test]
fn the_soak_time_is_waited_for_and_a_silent_canary_too() {
    let mut view = in_canary();
    let began = find(&mut view, Ring::Canary).soaking_since.unwrap();
    while !turn(&mut view).contains(&Action::Advance(Ring::Region)) {}
    assert!(view.now - began >= TimeDelta::seconds(SOAK));

    let mut view = in_canary();
    turn(&mut view);
    view.now += TimeDelta::seconds(SOAK);
    assert_eq!(decide(&view), [], "what it said last is from before");
    find(&mut view, Ring::Canary).edges[0].reported_at = Some(view.now);
    assert_eq!(decide(&view), [Action::Advance(Ring::Region)]);

    let mut view = in_canary();
    find(&mut view, Ring::Canary).edges[0].late = true;
    view.now += TimeDelta::days(1);
    assert_eq!(turn(&mut view), []);
}

#[test]
fn a_canary_that_starts_again_serves_for_a_soak_time_anew() {
    let mut view = in_canary();
    assert_eq!(turn(&mut view), [Action::Count(Ring::Canary)]);
    view.now += TimeDelta::seconds(SOAK);
    let canary = |view: &mut View| {
        let now = view.now;
        let edge = &mut find(view, Ring::Canary).edges[0];
        (edge.restarted, edge.reported_at) = (true, Some(now));
    };
    canary(&mut view);
    assert_eq!(turn(&mut view), [Action::Soak(Ring::Canary)]);
    assert_eq!(turn(&mut view), [Action::Count(Ring::Canary)]);
    let began = view.now;
    while !turn(&mut view).contains(&Action::Advance(Ring::Region)) {}
    assert!(view.now - began >= TimeDelta::seconds(SOAK));

    // Also once the next ring has the version.
    canary(&mut view);
    assert_eq!(turn(&mut view), [Action::Render(Ring::Region)]);
    assert_eq!(turn(&mut view), [Action::Soak(Ring::Canary)]);

    // Who is silent holds nobody up, whatever was heard of it last.
    let mut view = in_canary();
    turn(&mut view);
    let silent = EdgeView {
        late: true,
        restarted: true,
        ..edge("silent")
    };
    find(&mut view, Ring::Canary).edges.push(silent);
    let taken: Vec<Action> = (0..12).flat_map(|_| turn(&mut view)).collect();
    assert_eq!(taken.first(), Some(&Action::Advance(Ring::Region)));
}

#[test]
fn rings_without_edges_are_passed_at_once() {
    let mut view = view();
    for ring in [Ring::Canary, Ring::Region] {
        find(&mut view, ring).edges.clear();
    }
    let taken: Vec<Action> = (0..7).flat_map(|_| turn(&mut view)).collect();
    assert_eq!(taken.last(), Some(&Action::Render(Ring::All)));
}

#[test]
fn an_edge_that_reports_and_never_applies_stops_it() {
    let mut view = view();
    for _ in 0..3 {
        turn(&mut view);
    }
    let canary = find(&mut view, Ring::Canary);
    canary.edges[0].applied = false;
    view.now += TimeDelta::minutes(20);
    assert!(
        matches!(&decide(&view)[..], [Action::Stop(problem)] if problem.contains("15 minutes"))
    );
}

#[test]
fn an_older_program_leaves_the_rollout_to_the_newer_one() {
    let mut view = in_canary();
    view.newest = 1;
    assert_eq!(decide(&view), []);
}

#[derive(Debug, Clone)]
enum Event {
    Turn,
    Late(usize, bool),
    Fails(usize),
    Resume,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Turn),
        2 => (0_usize..3, any::<bool>()).prop_map(|(ring, late)| Event::Late(ring, late)),
        1 => (0_usize..3).prop_map(Event::Fails),
        1 => Just(Event::Resume),
    ]
}

proptest! {
    /// Whatever happens: no ring has the version before the ring in front of it, and a stopped rollout
    /// gives it to nobody.
    #[test]
    fn no_ring_overtakes_the_one_before(events in prop::collection::vec(event(), 1..200)) {
        let mut view = view();
        for event in events {
            match event {
                Event::Turn => {
                    let stopped = view.rollout.state == Progress::Stopped;
                    let actions = turn(&mut view);
                    let goes_on = actions.iter().any(|a| matches!(a, Action::Advance(_) | Action::Finish));
                    prop_assert!(!(stopped && goes_on), "{actions:?}");
                }
                Event::Late(ring, late) => view.rings[ring].edges[0].late = late,
                Event::Fails(ring) => view.rings[ring].edges[0].after.items_refused = 1,
                Event::Resume if view.rollout.state == Progress::Stopped => {
                    view.rollout.state = Progress::Running;
                    for ring in &mut view.rings {
                        ring.edges[0].after.items_refused = 0;
                    }
                }
                Event::Resume => {}
            }
            for pair in view.rings.windows(2) {
                prop_assert!(pair[0].version >= pair[1].version, "{:?}", view.rings);
            }
        }
    }

    /// Left alone it ends.
    #[test]
    fn it_ends_when_all_is_well(silent in prop::collection::vec(any::<bool>(), 3)) {
        let mut view = view();
        for (ring, silent) in view.rings.iter_mut().zip(&silent) {
            // A second edge that is away holds nobody up.
            ring.edges.push(EdgeView { late: *silent, ..edge("second") });
        }
        for _ in 0..80 {
            turn(&mut view);
        }
        prop_assert_eq!(view.rollout.state, Progress::Done);
        prop_assert_eq!(decide(&view), []);
    }
}
