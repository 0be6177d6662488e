//! What the platform's own items of routes are made of.

use std::collections::{BTreeMap, BTreeSet};

use control_plane::feed::{
    platform_routes::{GLOBAL, REGION},
    route::Rings,
};
use domain::{id::NodeId, name::Name, ring::Ring};
use protocol::{
    feed::FeedName,
    item::{AgentItem, DeniedItem, EdgeItem},
};

use super::{NodeRow, Tables};
use crate::feeds;

/// What the platform's own items are made of, and in which versions they are rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformRows {
    pub edges: Vec<EdgeItem>,
    pub agents: Vec<(Name, AgentItem)>,
    pub denied: Vec<DeniedItem>,
    versions: BTreeMap<Ring, i32>,
}

impl Tables {
    /// What the platform's own items are to be made of now.
    #[must_use]
    pub fn platform_rows(&self, rings: &Rings) -> PlatformRows {
        PlatformRows {
            edges: self.edge_items(),
            agents: self.agent_items(),
            denied: self.denied_items(),
            versions: rings.versions.clone(),
        }
    }

    /// Nodes of a role that are welcome and have reported, and where they are.
    fn addresses(&self, edges: bool) -> impl Iterator<Item = (&NodeRow, std::net::SocketAddr)> {
        let nodes = self.nodes.values();
        let welcome = nodes.filter(move |node| node.is_edge == edges && !node.fenced);
        welcome.filter_map(|node| Some((node, node.status.as_ref()?.address)))
    }

    /// Every welcome edge whose address is known.
    fn edge_items(&self) -> Vec<EdgeItem> {
        let edges = self.addresses(true);
        edges
            .map(|(node, forward_address)| EdgeItem {
                node_id: node.id,
                region: node.region.clone(),
                forward_address,
            })
            .collect()
    }

    /// Every welcome agent whose address is known, with its region.
    fn agent_items(&self) -> Vec<(Name, AgentItem)> {
        let agents = self.addresses(false);
        agents
            .map(|(node, address)| {
                let node_id = node.id;
                (node.region.clone(), AgentItem { node_id, address })
            })
            .collect()
    }

    /// Every node that an operator has declared dead.
    fn denied_items(&self) -> Vec<DeniedItem> {
        let denied = self.nodes.values().filter(|node| node.fenced);
        denied.map(|node| DeniedItem { node_id: node.id }).collect()
    }

    /// Every welcome agent, and which nodes its feed says are denied.
    #[must_use]
    pub fn denied_in_feeds_of_agents(&self) -> BTreeMap<NodeId, BTreeSet<String>> {
        let of = |node: NodeId| self.item_ids(&FeedName::Node(node), "denied/");
        self.addresses(false)
            .map(|(node, _)| (node.id, of(node.id).into_iter().collect()))
            .collect()
    }

    /// The platform's items that routes have now.
    #[must_use]
    pub fn platform_items(&self) -> Vec<(FeedName, String)> {
        let of_regions = feeds::of_regions(&self.regions);
        let of_regions = of_regions.flat_map(|feed| REGION.map(|prefix| (feed.clone(), prefix)));
        let places = feeds::globals()
            .flat_map(|feed| GLOBAL.map(|prefix| (feed.clone(), prefix)))
            .chain(of_regions);
        places
            .flat_map(|(feed, prefix)| {
                let ids = self.item_ids(&feed, prefix).into_iter();
                ids.map(move |id| (feed.clone(), id))
            })
            .collect()
    }
}
