//! What the database has lost, and nobody remembers but its container, or its agent alone: the agent has lost its disk,
//! or its feed's snapshot.

use sim::{
    Scenario,
    chaos::{Climate, Trouble},
    clock::SECOND,
    run,
};

use crate::seeds::number;

/// The database loses its last moments again and again, and soon after agents have this trouble.
fn beside_restores(seed: u64, trouble: Trouble) -> Scenario {
    Scenario {
        climate: Climate {
            pause_max: 10 * SECOND,
            ..Climate::with(vec![Trouble::Restore, trouble])
        },
        ..Scenario::of_seed(seed)
    }
}

/// Agents lose their disks.
pub fn forgetting(seed: u64) -> Scenario {
    beside_restores(seed, Trouble::Wipe)
}

/// Agents lose what they had of their feeds, and remember their instances.
pub fn spoiling(seed: u64) -> Scenario {
    beside_restores(seed, Trouble::Spoil)
}

/// In seeds 335 and 375 it was let go, by an operator and by its service's next deployment, and ran on for ever.
#[test]
fn what_nobody_remembers_ends_when_it_is_let_go() {
    let seen = [335, 375].map(Scenario::of_seed);
    for scenario in (0..3).map(forgetting).chain(seen) {
        let outcome = run(&scenario);
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
}

/// The first document that an agent reads without a snapshot, or with an older one, ends nothing for lacking it.
#[test]
fn what_only_its_agent_remembers_runs_on() {
    let first = number("SIM_FIRST_SEED").unwrap_or(0);
    for seed in first..first + number("SIM_SEEDS").unwrap_or(8) {
        let outcome = run(&spoiling(seed));
        assert!(outcome.violation.is_none(), "{outcome}");
        assert!(outcome.rested_after.is_some(), "{outcome}");
    }
}
