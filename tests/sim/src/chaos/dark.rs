//! Half of a region can't be seen: from afar that looks as if all of it had died at once.

use std::collections::BTreeSet;

use super::Blow;
use crate::{
    clock::SECOND,
    network::Peer,
    world::{Event, World},
};

impl World {
    /// Every second agent of a region, which runs on, reaches no control plane.
    pub(super) fn go_dark(&mut self) {
        let region = self.random.below(self.tables.regions.len());
        let region = self.tables.regions[region].clone();
        let here = self.nodes.iter().filter(|node| node.region == region);
        let victims: Vec<Peer> = here
            .step_by(2)
            .map(|node| Peer::Agent(node.index))
            .collect();
        let mut links = BTreeSet::new();
        for replica in (0..self.replicas.len()).map(Peer::Replica) {
            for victim in &victims {
                links.extend([(replica, *victim), (*victim, replica)]);
            }
        }
        let lasts = self.random.between(150, 250) * SECOND;
        self.chaos(format!("half of {region} can't be seen for {lasts} ms"));
        let cut = self.network.cut(links);
        self.lines_cut();
        self.after(lasts, Event::Blow(Blow::Mend(cut)));
    }
}
