//! What nobody remembers but its container: the database has lost it, and its agent its disk.

use sim::{
    Scenario,
    chaos::{Climate, Trouble},
    clock::SECOND,
    run,
};

/// Agents lose their disks soon after the database has lost what they run.
pub fn forgetting(seed: u64) -> Scenario {
    Scenario {
        climate: Climate {
            pause_max: 10 * SECOND,
            ..Climate::with(vec![Trouble::Restore, Trouble::Wipe])
        },
        ..Scenario::of_seed(seed)
    }
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
