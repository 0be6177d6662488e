//! What the scheduler sees, and its plan written back with a compare-and-set per node.

use std::collections::BTreeMap;

use domain::id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId};
use scheduler::{Amount, Instance, Liveness, Node, Phase};

use super::{InstanceRow, NodeRow, Tables};
use crate::clock::Millis;

impl Tables {
    /// Every agent that has ever reported.
    #[must_use]
    pub fn scheduler_nodes(&self, now: Millis) -> Vec<Node> {
        let mut failures: BTreeMap<NodeId, u32> = BTreeMap::new();
        let failing = |row: &&InstanceRow| !row.stopped() && row.status.problem.is_some();
        for row in self.instances.values().filter(failing) {
            *failures.entry(row.node).or_default() += 1;
        }
        let failures = |node: &NodeRow| failures.get(&node.id).copied().unwrap_or_default();
        let agents = self.nodes.values().filter(|node| !node.is_edge);
        agents
            .filter_map(|node| self.scheduler_node(node, failures(node), now))
            .collect()
    }

    fn scheduler_node(&self, node: &NodeRow, recent_failures: u32, now: Millis) -> Option<Node> {
        let status = node.status.as_ref()?;
        Some(Node {
            id: node.id,
            region: node.region.clone(),
            schedulable: node.schedulable,
            draining: node.draining,
            liveness: match (node.fenced, self.is_lost(node, now), node.is_late()) {
                (true, ..) => Liveness::Gone,
                (false, true, _) => Liveness::Lost,
                (false, false, true) => Liveness::Late,
                (false, false, false) => Liveness::Punctual,
            },
            capacity: status.capacity,
            reserved: node.reserved,
            recent_failures,
        })
    }

    /// The service's instances that still count.
    #[must_use]
    pub fn scheduler_instances(&self, service: ServiceId) -> Vec<Instance> {
        let counts = |row: &&InstanceRow| row.service == service && !row.stopped();
        let rows = self.instances.values().filter(counts);
        rows.map(|row| Instance {
            id: row.id,
            deployment_id: row.deployment,
            node_id: row.node,
            phase: Phase::of(row.stop_cause.is_some(), row.status.state, row.status.ready),
        })
        .collect()
    }

    /// Reserves room on the node and makes the instance, unless the node has no room any more.
    /// `compared` is false for the planted mistake only.
    pub fn place(&mut self, new: NewInstance, compared: bool) -> bool {
        let Some(node) = self.nodes.get_mut(&new.node) else {
            return false;
        };
        let Some(capacity) = node.status.as_ref().map(|status| status.capacity) else {
            return false;
        };
        let reserved = node.reserved.plus(new.amount);
        let fits = node.schedulable && !node.draining && capacity.holds(reserved);
        if !fits && compared {
            return false;
        }
        node.reserved = reserved;
        let row = InstanceRow::new(new, node.region.clone());
        self.instances.insert(new.id, row);
        true
    }
}

/// What [`Tables::place`] makes, or [`Tables::take_back`].
#[derive(Debug, Clone, Copy)]
pub struct NewInstance {
    pub id: InstanceId,
    pub service: ServiceId,
    pub deployment: DeploymentId,
    pub release: ReleaseId,
    pub node: NodeId,
    pub amount: Amount,
}
