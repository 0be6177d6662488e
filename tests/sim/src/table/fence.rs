//! Nodes that an operator has declared dead: the plan goes on as if all that they ran had stopped.

use domain::{
    id::{InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::{feed::FeedName, report::AgentReport};

use super::Tables;

/// Why an instance goes that was on such a node.
const CAUSE: &str = "fence";

impl Tables {
    /// Declares a silent agent's node dead; false when it is none, or still reports.
    pub fn fence(&mut self, id: NodeId) -> bool {
        let silent = |row: &&mut super::NodeRow| !row.is_edge && row.is_late();
        let Some(row) = self.nodes.get_mut(&id).filter(silent) else {
            return false;
        };
        (row.fenced, row.schedulable) = (true, false);
        true
    }

    /// Whatever fenced nodes ran shall go; what is new about that.
    pub fn stop_fenced(&mut self) -> Vec<(ServiceId, InstanceId)> {
        let nodes = &self.nodes;
        let is_fenced = |id: &NodeId| nodes.get(id).is_some_and(|node| node.fenced);
        let mut lost = Vec::new();
        for row in self.instances.values_mut() {
            if is_fenced(&row.node) && !row.stopped() && row.stop_cause.is_none() {
                row.stop_cause = Some(CAUSE.to_owned());
                lost.push((row.service, row.id));
            }
        }
        lost.sort_unstable();
        lost
    }

    /// The node is back: it is let in again, cordoned, once it has applied its newest document and says that
    /// nothing runs there. Whether it was.
    pub(super) fn lift_fence(&mut self, id: NodeId, report: &AgentReport) -> bool {
        let runs = report
            .instances
            .iter()
            .any(|instance| instance.state < State::Stopped);
        let has_a_plan = || {
            let mut rows = self.instances.values();
            rows.any(|row| row.node == id && !row.stopped())
        };
        let lifted = !runs && self.has_applied_all(id) && !has_a_plan();
        let Some(row) = self.nodes.get_mut(&id).filter(|row| row.fenced && lifted) else {
            return false;
        };
        row.fenced = false;
        true
    }

    /// Whether a node works by its newest document.
    fn has_applied_all(&self, id: NodeId) -> bool {
        let feed = FeedName::Node(id);
        let newest = self.position(&feed);
        let applied = self.node_feeds.get(&(id, feed.clone()));
        self.feeds.contains_key(&feed) && applied.is_some_and(|applied| *applied >= newest)
    }
}
