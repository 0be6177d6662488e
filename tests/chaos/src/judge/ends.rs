//! How deployments ended. Under faults one of a thousand may fail by the platform.

use std::collections::BTreeSet;

use domain::deployment::machine::Step;

use super::Violation;
use crate::{history::History, world::World};

/// One of so many may fail; fewer show nothing.
const OF: usize = 1_000;

/// Of the services that deployments were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Those that ended, however.
    pub ended: usize,
    /// Those that failed. What these tests deploy is right: whatever code it has, it is the platform's failure.
    pub failed: usize,
}

impl Ends {
    /// As they are in the world.
    pub fn of(history: &History, world: &World) -> Self {
        let asked = history.deployments.iter().map(|(service, _)| *service);
        let asked: BTreeSet<_> = asked.collect();
        let all = world.deployments.iter();
        let states = all
            .filter(|one| asked.contains(&one.service))
            .map(|one| one.state);
        let ended: Vec<_> = states.filter(|state| state.is_final()).collect();
        Self {
            ended: ended.len(),
            failed: ended.iter().filter(|state| **state == Step::Failed).count(),
        }
    }
}

pub(super) fn too_many_failed(history: &History, world: &World) -> Option<Violation> {
    let Ends { ended, failed } = Ends::of(history, world);
    let too_many = ended >= OF && failed * OF > ended;
    too_many.then_some(Violation::TooManyFailed { ended, failed })
}
