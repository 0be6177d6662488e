//! Seeds from `SIM_FIRST_SEED` (0) on, `SIM_SEEDS` (200) of them; one again with `SIM_SEED`, and more of
//! what happened in it with `SIM_LINES`.

#![allow(clippy::print_stdout, reason = "a history is told to people")]

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sim::{
    Outcome, Scenario,
    chaos::{Climate, Trouble},
    run,
};

pub fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

fn run_all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(&Scenario::of_seed(seed));
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn every_seed_keeps_every_promise() {
    let first = number("SIM_FIRST_SEED").unwrap_or(0);
    let outcomes = run_all(first..first + number("SIM_SEEDS").unwrap_or(200));
    let broken: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.violation.is_some() || outcome.rested_after.is_none())
        .map(ToString::to_string)
        .collect();
    let rested: Vec<u64> = outcomes.iter().filter_map(|o| o.rested_after).collect();
    let slowest = rested.iter().max().copied().unwrap_or_default();
    let answered: u64 = outcomes.iter().map(|o| o.answered).sum();
    let failed: u64 = outcomes.iter().map(|o| o.failed).sum();
    let adopted: u64 = outcomes.iter().map(|o| o.adopted).sum();
    println!(
        "{} seeds, {} broken; slowest at rest after {slowest} ms; {failed} of {} requests failed; {adopted} orphans taken back",
        outcomes.len(),
        broken.len(),
        answered + failed
    );
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// Which regions have instances and where those are comes to an edge in two feeds, one of them later: with both
/// changed at once, seed 680 had a request that found nobody.
#[test]
fn a_service_that_moves_between_regions_misses_no_request() {
    for scenario in (0..8).map(Scenario::moves).chain([Scenario::of_seed(680)]) {
        let outcome = run(&scenario);
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(
            outcome.answered > 0 && outcome.rested_after.is_some(),
            "{outcome}"
        );
    }
}

#[test]
fn nodes_that_are_told_and_not_heard_keep_every_promise() {
    for seed in 0..8 {
        let outcome = run(&Scenario {
            climate: Climate::with(vec![Trouble::Unheard]),
            ..Scenario::of_seed(seed)
        });
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
}

#[test]
fn half_a_region_that_cant_be_seen_runs_on() {
    for seed in 0..8 {
        let outcome = run(&Scenario {
            climate: Climate::with(vec![Trouble::Dark]),
            ..Scenario::of_seed(seed)
        });
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
}

#[test]
fn what_a_restored_database_has_forgotten_is_taken_back() {
    let mut adopted = 0;
    for seed in 0..8 {
        let outcome = run(&Scenario::restores(seed));
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
        adopted += outcome.adopted;
    }
    assert!(adopted > 0, "nothing was forgotten");
}

#[test]
fn what_newer_programs_render_reaches_edges_ring_by_ring() {
    let outcomes: Vec<Outcome> = (0..8).map(|seed| run(&Scenario::upgrades(seed))).collect();
    for outcome in &outcomes {
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
    let finished: u64 = outcomes.iter().map(|outcome| outcome.finished).sum();
    let stopped: u64 = outcomes.iter().map(|outcome| outcome.stopped).sum();
    println!("{finished} rollouts have come to every edge, {stopped} were stopped");
    assert!(finished > 8 && stopped > 8, "{finished}, {stopped}");
}

/// What a service has in a region that it leaves is not rendered anew and goes: until then, seeds 456 and 2650 took the
/// ring for one that does not serve by its version; in seed 8954 it did not see what an edge took from its disk. In seed
/// 2983 a rollout went on after a restore by what an edge had applied, and refused, of the lost history; in seeds 8071 and
/// 9471 the edge was late then, and what it had refused was what a bad version was compared with.
#[test]
fn a_rollout_goes_by_what_edges_have_of_it_now() {
    for seed in [456, 2650, 2983, 8071, 8954, 9471] {
        let outcome = run(&Scenario::of_seed(seed));
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
}

#[test]
fn builds_end_whatever_becomes_of_the_nodes_that_have_them() {
    let first = number("SIM_FIRST_SEED").unwrap_or(0);
    for seed in first..first + number("SIM_SEEDS").unwrap_or(8) {
        let outcome = run(&Scenario::builds(seed));
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [0, 7, 15] {
        let (first, again) = (run(&Scenario::of_seed(seed)), run(&Scenario::of_seed(seed)));
        assert_eq!(
            (first.hash, first.notes),
            (again.hash, again.notes),
            "seed {seed}"
        );
        assert_ne!(first.hash, run(&Scenario::of_seed(seed + 1)).hash);
    }
}

#[test]
fn replay() {
    let seed = number("SIM_SEED").unwrap_or(7);
    let mut scenario = Scenario::of_seed(seed);
    if let Some(lines) = number("SIM_LINES") {
        scenario.lines = usize::try_from(lines).unwrap();
    }
    let outcome = run(&scenario);
    println!("{outcome}");
    if number("SIM_LINES").is_some() {
        println!("{}", outcome.tail);
    }
    assert!(outcome.violation.is_none(), "{outcome}");
}
