//! Each planted mistake is found within a few seeds, by the promise that it breaks.

#![allow(clippy::print_stdout, reason = "a history is told to people")]

use sim::{
    Fault, Invariant, Scenario,
    chaos::{Climate, Trouble},
    clock::{MINUTE, SECOND},
    run,
};

use crate::forgotten::{forgetting, spoiling};

/// As many as `./dev test` may spend on one mistake.
const SEEDS: u64 = 24;

fn is_found(fault: Fault, troubles: &[Trouble], expected: &[Invariant]) {
    let history = |seed| Scenario {
        climate: Climate::with(troubles.to_vec()),
        ..Scenario::of_seed(seed)
    };
    is_found_in(history, fault, expected);
}

fn is_found_in(history: impl Fn(u64) -> Scenario, fault: Fault, expected: &[Invariant]) {
    is_found_beside(None, history, fault, expected);
}

/// Found, and by nothing else: the same history breaks nothing with `known` alone, which is no mistake of the program's.
fn is_found_beside(
    known: Option<Fault>,
    history: impl Fn(u64) -> Scenario,
    fault: Fault,
    expected: &[Invariant],
) {
    let violation_with = |fault, seed| {
        run(&Scenario {
            fault,
            ..history(seed)
        })
        .violation
    };
    for seed in 0..SEEDS {
        if let Some(violation) = violation_with(Some(fault), seed) {
            println!("{fault:?}: seed {seed}: {violation}");
            if let Some(without) = violation_with(known, seed) {
                println!("it proves nothing: without the mistake, too: {without}");
                continue;
            }
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
fn leaving_a_region_before_edges_use_the_next_is_found() {
    is_found_in(
        Scenario::moves,
        Fault::RegionLeftAtOnce,
        &[Invariant::Availability],
    );
}

#[test]
fn writing_by_a_lease_alone_is_found() {
    let expected = [Invariant::Steps, Invariant::Build];
    is_found_in(builds(Trouble::Pause), Fault::LeaseWithoutEpoch, &expected);
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
    let forks = |seed| Scenario {
        climate: Climate {
            pause_max: 4 * SECOND,
            ..Climate::with(vec![Trouble::Fork])
        },
        ..Scenario::of_seed(seed)
    };
    let expected = [Invariant::Acknowledgement];
    is_found_in(forks, Fault::SameGenerationIsNewer, &expected);
}

#[test]
fn serving_who_has_other_content_of_a_position_is_found() {
    let expected = [Invariant::Acknowledgement, Invariant::Convergence];
    is_found_beside(
        Some(Fault::EpochsAreCounted),
        relapses(8),
        Fault::RewrittenIsServed,
        &expected,
    );
}

/// The database goes back a moment again and again, after so many seconds at most.
fn relapses(seconds: u64) -> impl Fn(u64) -> Scenario {
    move |seed| Scenario {
        climate: Climate {
            pause_max: seconds * SECOND,
            ..Climate::with(vec![Trouble::Relapse])
        },
        ..Scenario::of_seed(seed)
    }
}

#[test]
fn forgetting_a_scale_is_found() {
    is_found(Fault::ScaleTakenBack, &[], &[Invariant::Intent]);
}

#[test]
fn going_on_when_a_service_is_taken_down_is_found() {
    // Many builds take minutes: much is under way when somebody wants nothing to run.
    let history = builds(Trouble::Pause);
    is_found_in(history, Fault::DownUnheard, &[Invariant::Intent]);
}

#[test]
fn giving_a_port_to_two_is_found() {
    is_found(Fault::PortsNotCompared, &[], &[Invariant::Foreign]);
}

#[test]
fn counting_epochs_is_found() {
    let expected = [Invariant::Acknowledgement, Invariant::Convergence];
    is_found_in(relapses(4), Fault::EpochsAreCounted, &expected);
}

#[test]
fn keeping_the_routes_to_orphans_is_found() {
    is_found(
        Fault::OrphanedRoutesStay,
        &[Trouble::Restore],
        &[Invariant::Convergence],
    );
}

#[test]
fn taking_every_orphan_back_is_found() {
    is_found_in(
        Scenario::restores,
        Fault::EveryOrphanTaken,
        &[Invariant::Adoption],
    );
}

#[test]
fn placing_before_agents_have_said_what_they_run_is_found() {
    is_found_in(
        Scenario::restores,
        Fault::OrphansNotWaitedFor,
        &[Invariant::Adoption],
    );
}

#[test]
fn replacing_what_must_be_alone_is_found() {
    // A cut that lasts for longer than it takes to be lost is rare, and so are services that must be alone.
    let history = |seed| Scenario {
        climate: Climate {
            pause_max: 6_000,
            ..Climate::with(vec![Trouble::Partition])
        },
        ..Scenario::of_seed(seed)
    };
    is_found_in(history, Fault::LostAloneIsReplaced, &[Invariant::Alone]);
}

#[test]
fn taking_lost_nodes_for_gone_is_found() {
    is_found(Fault::LostIsGone, &[Trouble::Dark], &[Invariant::MassStop]);
}

#[test]
fn going_on_without_the_soak_time_is_found() {
    is_found_in(Scenario::upgrades, Fault::SoakNotWaited, &[Invariant::Ring]);
}

#[test]
fn soaking_before_edges_have_a_version_is_found() {
    is_found_in(
        Scenario::upgrades,
        Fault::RolloutUnacknowledged,
        &[
            Invariant::Ring,
            Invariant::BadRendering,
            Invariant::Availability,
        ],
    );
}

#[test]
fn going_on_although_an_edge_has_started_again_is_found() {
    let history = |seed| {
        let mut history = Scenario::upgrades(seed);
        history.climate.troubles.push(Trouble::Crash);
        history.climate.pause_max = 5 * SECOND;
        history
    };
    is_found_in(history, Fault::RestartsUnseen, &[Invariant::Ring]);
}

#[test]
fn rendering_back_what_a_newer_program_leads_is_found() {
    is_found_in(
        Scenario::upgrades,
        Fault::OlderProgramGoesOn,
        &[Invariant::Rendering, Invariant::BadRendering],
    );
}

#[test]
fn beginning_a_version_where_an_unfinished_one_has_come_to_is_found() {
    is_found_in(
        Scenario::upgrades,
        Fault::UnfinishedStays,
        &[Invariant::BadRendering, Invariant::Convergence],
    );
}

#[test]
fn taking_a_step_of_a_rollout_that_was_stopped_meanwhile_is_found() {
    let pauses = |seed| Scenario {
        climate: Climate {
            troubles: vec![Trouble::Upgrade, Trouble::Pause],
            pause_max: 4 * SECOND,
            // Every second transaction is slow.
            builds: true,
            ..Climate::upgrades()
        },
        trouble_for: 20 * MINUTE,
        ..Scenario::upgrades(seed)
    };
    let expected = [Invariant::Ring, Invariant::BadRendering];
    is_found_in(pauses, Fault::StepNotCompared, &expected);
}

#[test]
fn starting_what_runs_elsewhere_since_its_machine_was_declared_dead_is_found() {
    let history = |seed| {
        let mut history = builds(Trouble::Power)(seed);
        history.climate.troubles.push(Trouble::Crash);
        history
    };
    is_found_in(
        history,
        Fault::StartsUnheard,
        &[Invariant::Alone, Invariant::Route],
    );
}

/// Long enough for every node's certificate to end.
fn outage(seed: u64) -> Scenario {
    Scenario::outage(seed, 24 * 60 * MINUTE)
}

#[test]
fn refusing_nodes_whose_certificate_has_ended_is_found() {
    is_found_in(outage, Fault::ExpiryRefuses, &[Invariant::Availability]);
}

#[test]
fn renewing_what_users_see_too_late_is_found() {
    is_found_in(outage, Fault::RenewedTooLate, &[Invariant::Availability]);
}

/// One build after the other, and this trouble again and again.
fn builds(trouble: Trouble) -> impl Fn(u64) -> Scenario {
    move |seed| Scenario {
        climate: Climate {
            troubles: vec![trouble],
            pause_max: 8 * SECOND,
            ..Climate::builds()
        },
        ..Scenario::of_seed(seed)
    }
}

#[test]
fn hearing_a_node_that_once_had_a_build_is_found() {
    let often = |seed| {
        let mut history = builds(Trouble::Unheard)(seed);
        history.climate.pause_max = 3 * SECOND;
        history
    };
    is_found_in(often, Fault::OldNodeIsHeard, &[Invariant::Build]);
}

#[test]
fn giving_a_build_away_without_comparing_is_found() {
    let history = builds(Trouble::Pause);
    is_found_in(history, Fault::AssignedUncompared, &[Invariant::Build]);
}

#[test]
fn leaving_nodes_what_no_document_of_theirs_has_is_found() {
    let history = builds(Trouble::Restore);
    is_found_in(history, Fault::StrangersKept, &[Invariant::Convergence]);
}

#[test]
fn not_hearing_what_is_let_go_by_name_is_found() {
    is_found_in(forgetting, Fault::LetGoUnheard, &[Invariant::Convergence]);
}

#[test]
fn taking_what_a_document_lacks_for_dropped_is_found() {
    is_found_in(spoiling, Fault::LackingIsDropped, &[Invariant::Cause]);
}
