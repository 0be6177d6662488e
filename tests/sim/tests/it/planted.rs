//! Each planted mistake is found within a few seeds, by the promise that it breaks.

#![allow(clippy::print_stdout, reason = "a history is told to people")]

use sim::{
    Fault, Invariant, Scenario,
    chaos::{Climate, Trouble},
    run,
};

/// As many as `./dev test` may spend on one mistake.
const SEEDS: u64 = 24;

fn is_found(fault: Fault, troubles: &[Trouble], expected: &[Invariant]) {
    for seed in 0..SEEDS {
        let scenario = Scenario {
            fault: Some(fault),
            climate: Climate::with(troubles.to_vec()),
            ..Scenario::of_seed(seed)
        };
        if let Some(violation) = run(&scenario).violation {
            println!("{fault:?}: seed {seed}: {violation}");
            assert!(expected.contains(&violation.invariant), "{violation}");
            return;
        }
    }
    panic!("{fault:?} was not found in {SEEDS} seeds");
}

#[test]
fn acknowledging_before_applying_is_found() {
    is_found(Fault::AcknowledgeBeforeApply, &[], &[Invariant::Route]);
}

#[test]
fn draining_before_edges_acknowledged_is_found() {
    is_found(Fault::DrainBeforeAcknowledge, &[], &[Invariant::Route]);
}

#[test]
fn writing_by_a_lease_alone_is_found() {
    is_found(
        Fault::LeaseWithoutEpoch,
        &[Trouble::Pause],
        &[Invariant::Steps],
    );
}

#[test]
fn judging_room_outside_the_compare_and_set_is_found() {
    is_found(
        Fault::CapacityOutsideCompareAndSet,
        &[],
        &[Invariant::Capacity],
    );
}

#[test]
fn taking_the_same_generation_for_a_newer_one_is_found() {
    is_found(
        Fault::SameGenerationIsNewer,
        &[Trouble::FailOver],
        &[Invariant::Acknowledgement, Invariant::Convergence],
    );
}

#[test]
fn counting_epochs_is_found() {
    is_found(
        Fault::EpochsAreCounted,
        &[Trouble::Relapse],
        &[Invariant::Acknowledgement, Invariant::Convergence],
    );
}

#[test]
fn keeping_the_routes_to_orphans_is_found() {
    is_found(
        Fault::OrphanedRoutesStay,
        &[Trouble::Restore],
        &[Invariant::Convergence],
    );
}
