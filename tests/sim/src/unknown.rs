//! What really runs although the plan does not know it: what the control plane could hear of before it places anew.

use agent::reconcile::Goal;
use domain::{id::InstanceId, instance::State};
use scheduler::Placement;

use crate::{
    node::{Agent, Node},
    table::SETTLING,
    world::World,
};

impl World {
    /// Instances of the very release that is to be placed, unknown to the plan, on agents of that region that are heard and stay.
    pub(crate) fn runs_unknown(&self, placement: &Placement) -> Vec<InstanceId> {
        let there = |node: &&Node| node.region == placement.region && self.is_heard(node);
        let mut unknown = Vec::new();
        for node in self.nodes.iter().filter(there) {
            let running = node
                .agent
                .iter()
                .flat_map(|agent| running(agent, placement));
            unknown.extend(running.filter(|id| self.could_be_known(node, *id)));
        }
        unknown
    }

    fn is_heard(&self, node: &Node) -> bool {
        let row = self.tables.nodes.get(&node.id);
        row.is_some_and(|row| !row.fenced && !row.draining && !row.is_late())
    }

    /// Its node has told of it, or may still be about to: nothing is placed until then.
    fn could_be_known(&self, node: &Node, id: InstanceId) -> bool {
        if self.tables.instances.contains_key(&id) || self.checker.was_let_go(id) {
            return false;
        }
        match self.tables.orphans.get(&(node.id, id)) {
            Some(row) => row.let_go_at.is_none() && (row.item.is_some() || self.is_unsettled()),
            None => self.is_unsettled(),
        }
    }

    /// An epoch has begun, or has to begin because of what has happened to the database.
    fn is_unsettled(&self) -> bool {
        let platform = &self.tables.platform;
        platform.shown.is_some()
            || platform.timeline != Some(self.tables.timeline)
            || platform.epoch_since + SETTLING > self.now
    }
}

/// What an agent runs of a release and is not told to end.
fn running(agent: &Agent, placement: &Placement) -> Vec<InstanceId> {
    let all = agent.roster.all().iter();
    let of_release = all.filter(|(_, instance)| match &instance.goal {
        Goal::Run(item) => {
            let is = (item.deployment_id, item.release_id);
            is == (placement.deployment_id, placement.release_id)
                && instance.record.state < State::Draining
        }
        _ => false,
    });
    of_release.map(|(id, _)| *id).collect()
}
