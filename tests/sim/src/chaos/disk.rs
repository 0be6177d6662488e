//! Disks that are lost, and such as lose a part of what they had.

use super::Blow;
use crate::{
    clock::SECOND,
    world::{Event, World},
};

impl World {
    pub(super) fn wipe(&mut self) {
        if self.random.chance(500) {
            let index = self.some_agent();
            self.chaos(format!("agent {index} loses its disk"));
            let node = &mut self.nodes[index];
            node.agent = None;
            node.disk.feed.wipe();
            node.disk.records.clear();
            node.disk.builds.clear();
            self.after(2 * SECOND, Event::Blow(Blow::StartAgent(index)));
        } else {
            let index = self.random.below(self.edges.len());
            self.chaos(format!("edge {index} loses its disk"));
            let edge = &mut self.edges[index];
            edge.edge = None;
            edge.global_disk.wipe();
            edge.region_disk.wipe();
            edge.confirmed.clear();
            self.after(2 * SECOND, Event::Blow(Blow::StartEdge(index)));
        }
    }

    /// Nothing can be read of what an agent had of its feed, or not the end; what it remembers of its instances stays.
    pub(super) fn spoil(&mut self) {
        let (index, in_whole) = (self.some_agent(), self.random.chance(500));
        self.chaos(format!(
            "agent {index} loses its feed's snapshot, the whole of it: {in_whole}"
        ));
        let node = &mut self.nodes[index];
        node.agent = None;
        if in_whole {
            node.disk.feed.wipe();
        } else {
            node.disk.feed.lose_tail();
        }
        self.after(2 * SECOND, Event::Blow(Blow::StartAgent(index)));
    }
}
