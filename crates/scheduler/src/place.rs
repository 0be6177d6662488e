//! Which node is best for one more instance. The order of [`Score`]'s fields is the policy.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use domain::{
    id::{DeploymentId, NodeId},
    name::Name,
};

use crate::model::{Amount, Liveness, Node};

/// Lower is better; fields are compared from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Replicas of the same deployment there: spread first.
    pub same_service_on_node: u32,
    /// Instances of any service that failed there lately.
    pub failure_penalty: u32,
    /// Thousandths left of the scarcer resource: fill up nodes, keep others free.
    pub binpack: u64,
    /// Makes the order total.
    pub node_id: NodeId,
}

/// The nodes with what the plan so far has put onto them.
pub(crate) struct Board<'a> {
    nodes: &'a [Node],
    by_id: BTreeMap<NodeId, &'a Node>,
    used: BTreeMap<NodeId, Amount>,
    replicas: BTreeMap<(DeploymentId, NodeId), u32>,
}

impl<'a> Board<'a> {
    pub(crate) fn new(nodes: &'a [Node]) -> Self {
        let used = nodes.iter().map(|node| (node.id, node.reserved)).collect();
        Self {
            nodes,
            by_id: nodes.iter().map(|node| (node.id, node)).collect(),
            used,
            replicas: BTreeMap::new(),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&'a Node> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn count(&mut self, deployment: DeploymentId, node: NodeId) {
        *self.replicas.entry((deployment, node)).or_default() += 1;
    }

    pub(crate) fn replicas(&self, deployment: DeploymentId, node: NodeId) -> u32 {
        self.replicas
            .get(&(deployment, node))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn free(&self, node: &Node) -> Amount {
        node.capacity
            .minus(self.used.get(&node.id).copied().unwrap_or_default())
    }

    pub(crate) fn open(&self, region: &Name) -> impl Iterator<Item = &'a Node> + use<'a> {
        let region = region.clone();
        self.nodes.iter().filter(move |node| {
            node.region == region
                && node.schedulable
                && !node.draining
                && node.liveness == Liveness::Punctual
        })
    }

    /// Reserves room for up to `count` instances, each on the node that is best when its turn comes. A
    /// placement changes the score of its own node only, so all others keep their place in the heap.
    pub(crate) fn place(
        &mut self,
        deployment: DeploymentId,
        region: &Name,
        needed: Amount,
        count: usize,
    ) -> Vec<NodeId> {
        let open = self.open(region);
        let mut scores: BinaryHeap<Reverse<Score>> = open
            .filter_map(|node| self.score(deployment, node, needed))
            .map(Reverse)
            .collect();
        let mut placed = Vec::with_capacity(count);
        while placed.len() < count
            && let Some(Reverse(Score { node_id, .. })) = scores.pop()
        {
            let used = self.used.entry(node_id).or_default();
            *used = used.plus(needed);
            self.count(deployment, node_id);
            placed.push(node_id);
            let node = self.node(node_id);
            let again = node.and_then(|node| self.score(deployment, node, needed));
            scores.extend(again.map(Reverse));
        }
        placed
    }

    /// None when it does not fit.
    fn score(&self, deployment: DeploymentId, node: &Node, needed: Amount) -> Option<Score> {
        let free = self.free(node);
        let left = free.minus(needed);
        let part = |left: u64, whole: u64| left.saturating_mul(1_000) / whole.max(1);
        free.holds(needed).then(|| Score {
            same_service_on_node: self.replicas(deployment, node.id),
            failure_penalty: node.recent_failures,
            binpack: part(left.cpu.0.into(), node.capacity.cpu.0.into())
                .min(part(left.memory.0, node.capacity.memory.0)),
            node_id: node.id,
        })
    }
}
