//! The control plane and its database are away for days: what runs runs on and is served, whichever process
//! of a node ends and is started again meanwhile.

use crate::{
    chaos::Blow,
    clock::{MINUTE, Millis, SECOND},
    trace::Note,
    world::{Event, World},
};

/// Deployments and all else that is normal go on for this long before.
pub const BEFORE: Millis = 10 * MINUTE;
/// Between two restarts somewhere on the platform, at most.
const RESTARTS: Millis = 20 * MINUTE;
/// A supervisor has an edge up again within 2 s, an agent within 3 s.
const EDGE_BACK: Millis = 2 * SECOND;
const AGENT_BACK: Millis = 3 * SECOND;

impl World {
    /// Everything central is gone at once.
    pub(crate) fn outage(&mut self) {
        self.note(Note::Chaos(
            "the control plane and its database go away".to_owned(),
        ));
        self.outage = true;
        self.database.up = false;
        for index in 0..self.replicas.len() {
            self.kill_replica(index);
        }
        self.after(MINUTE, Event::Blow(Blow::Restart));
    }

    /// The next process of a node ends, and comes back from its disk.
    pub(crate) fn restart(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let pause = self.random.between(MINUTE, RESTARTS);
        self.after(pause, Event::Blow(Blow::Restart));
        let (back, blow) = if self.random.chance(500) {
            let index = self.random.below(self.edges.len());
            self.edges[index].edge = None;
            (EDGE_BACK, Blow::StartEdge(index))
        } else {
            let index = self.random.below(self.nodes.len());
            self.nodes[index].agent = None;
            (AGENT_BACK, Blow::StartAgent(index))
        };
        self.note(Note::Chaos(format!("{blow:?} within {back} ms")));
        let back = self.random.between(300, back);
        self.after(back, Event::Blow(blow));
    }
}
