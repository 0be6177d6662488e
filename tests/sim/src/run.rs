//! One history from its seed, and what is said about it.

use std::fmt;

use crate::{
    chaos::{Climate, Trouble},
    clock::{MINUTE, Millis},
    fault::Fault,
    invariant::Violation,
    trace::LINES,
    world::World,
};

/// No history lasts longer.
const END: Millis = 120 * MINUTE;

/// Everything that a history follows from.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub climate: Climate,
    pub fault: Option<Fault>,
    pub replicas: usize,
    pub nodes_per_region: usize,
    pub services: usize,
    /// Things may break for this long; then everything is mended.
    pub trouble_for: Millis,
    /// After ten minutes the control plane and its database go away for this long.
    pub outage: Option<Millis>,
    /// How much of what happened is told.
    pub lines: usize,
}

impl Scenario {
    /// A smaller platform whose control plane and database are away for this long, while nodes' processes
    /// end and come back.
    #[must_use]
    pub fn outage(seed: u64, lasts: Millis) -> Self {
        Self {
            climate: Climate::calm(),
            nodes_per_region: 4,
            services: 6,
            outage: Some(lasts),
            ..Self::of_seed(seed)
        }
    }

    /// A few services that do nothing but move between regions.
    #[must_use]
    pub fn moves(seed: u64) -> Self {
        Self {
            climate: Climate::moves(),
            services: 4,
            ..Self::of_seed(seed)
        }
    }

    /// A database that loses its last seconds or minutes again and again.
    #[must_use]
    pub fn restores(seed: u64) -> Self {
        Self {
            climate: Climate::with(vec![Trouble::Restore, Trouble::FailOver]),
            ..Self::of_seed(seed)
        }
    }

    /// One new program after the other, of which edges can't use every one.
    #[must_use]
    pub fn upgrades(seed: u64) -> Self {
        Self {
            climate: Climate::upgrades(),
            services: 6,
            ..Self::of_seed(seed)
        }
    }

    /// One build after the other, many of which take minutes, on nodes and by replicas that don't last.
    #[must_use]
    pub fn builds(seed: u64) -> Self {
        Self {
            climate: Climate::builds(),
            ..Self::of_seed(seed)
        }
    }

    /// The history of a seed, at full size: 3 regions of 50 nodes and two edges, three replicas.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            climate: Climate::of_seed(seed),
            fault: None,
            replicas: 3,
            nodes_per_region: 50,
            services: 12,
            trouble_for: 5 * MINUTE,
            outage: None,
            lines: LINES,
        }
    }
}

/// What came of a history.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    /// Of everything that happened.
    pub hash: u64,
    pub notes: u64,
    pub violation: Option<Violation>,
    /// The last things that happened.
    pub tail: String,
    /// From the mending to the rest.
    pub rested_after: Option<Millis>,
    pub answered: u64,
    pub failed: u64,
    /// New versions of rendering that every edge has, and that were stopped.
    pub finished: u64,
    pub stopped: u64,
    /// Orphans that were taken back.
    pub adopted: u64,
    /// Likewise, while everything central was away.
    pub away: (u64, u64),
    /// Handshakes between nodes with a certificate whose time was over.
    pub expired: u64,
}

/// Runs a history to its rest, or to the first broken promise.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let mut world = World::new(scenario);
    let end = END + scenario.outage.unwrap_or_default();
    while world.step(end) {}
    Outcome {
        seed: scenario.seed,
        hash: world.trace.hash(),
        notes: world.trace.count(),
        violation: world.checker.violation().cloned(),
        tail: world.trace.to_string(),
        rested_after: world.rested.zip(world.healed).map(|(at, from)| at - from),
        answered: world.answered,
        failed: world.failed,
        finished: world.finished,
        stopped: world.stopped,
        adopted: world.adopted,
        away: world.away,
        expired: world.certificates.map_or(0, |all| all.expired),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed;
        match &self.violation {
            None => write!(
                f,
                "seed {seed}: {} notes, hash {:016x}, at rest after {:?} ms, {} of {} requests failed",
                self.notes,
                self.hash,
                self.rested_after,
                self.failed,
                self.answered + self.failed
            ),
            Some(violation) => write!(
                f,
                "seed {seed} breaks a promise: {violation}\n{}replay: SIM_SEED={seed} cargo nextest run --workspace -E 'package(sim) and test(replay)' --no-capture",
                self.tail
            ),
        }
    }
}
