//! The brake: while too much of a region is silent nothing of it is replaced, for then it is more likely that we
//! can't see than that they are gone. Doctor and metrics ask the same rule.

use std::collections::{BTreeMap, BTreeSet};

use domain::name::Name;

use crate::model::{Liveness, Node};

/// Share of a region's nodes (in percent) that may be silent before replacing stops.
const PERCENT: usize = 30;

/// Nodes of a region that must be silent before replacing stops.
const NODES: usize = 2;

/// How much of a region can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// Its nodes, without those of which an operator has said that they are gone.
    pub nodes: usize,
    /// Those of them that are late or lost.
    pub silent: usize,
}

impl Sight {
    /// Of one region.
    #[must_use]
    pub fn of(nodes: &[Node], region: &Name) -> Self {
        let here = nodes
            .iter()
            .filter(|node| node.region == *region && node.liveness != Liveness::Gone);
        here.fold(Self::default(), |sight, node| Self {
            nodes: sight.nodes + 1,
            silent: sight.silent + usize::from(node.liveness > Liveness::Punctual),
        })
    }

    /// Of every region that has a node, or had one.
    #[must_use]
    pub fn by_region(nodes: &[Node]) -> BTreeMap<&Name, Self> {
        let regions: BTreeSet<&Name> = nodes.iter().map(|node| &node.region).collect();
        let sights = regions.into_iter();
        sights
            .map(|region| (region, Self::of(nodes, region)))
            .collect()
    }

    /// Whether what was lost in the region waits for a person.
    #[must_use]
    pub const fn stops_replacement(self) -> bool {
        self.silent >= NODES && self.silent * 100 > self.nodes * PERCENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_and_more_than_30_percent_of_a_region_stop_replacing() {
        for (silent, nodes, stops) in [
            (0, 0, false),
            (1, 1, false),
            (1, 2, false),
            (2, 2, true),
            (2, 6, true),
            (2, 7, false),
            (3, 10, false),
            (4, 10, true),
        ] {
            let sight = Sight { nodes, silent };
            assert_eq!(sight.stops_replacement(), stops, "{sight:?}");
        }
    }
}
