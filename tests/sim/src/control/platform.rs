//! The platform's own part: liveness, the epoch, and where edges and agents are.

use std::collections::BTreeSet;

use control_plane::{
    feed::route::{Changes, RouteItem},
    store::feed::Change,
};
use domain::ring::Ring;
use protocol::{
    feed::{DropCause, FeedName},
    item::{AgentItem, EdgeItem, GlobalRouteItem, RegionRouteItem},
};

use super::Task;
use crate::{
    clock::{Millis, SECOND},
    feeds,
    world::World,
};

/// A pause of this length in our listening makes the silence of nodes count anew.
const GAP: Millis = 10 * SECOND;
/// As the control plane's configuration has it.
const LATE_AFTER: Millis = 45 * SECOND;

impl World {
    pub(super) fn turn_nodes(&mut self) {
        self.tables.follow_timeline();
        self.tables.listen(GAP, self.now);
        self.tables.mark_late(LATE_AFTER, self.now);
        let disturbed = self.tables.disturbed(self.now);
        for service in &disturbed {
            self.evaluate(*service);
        }
        if !disturbed.is_empty() {
            self.wake(Task::Evaluations);
        }
    }

    /// A new epoch is a new document of every feed.
    pub fn written_anew(&mut self) {
        self.tables.written = self.tables.feeds.keys().cloned().collect();
    }

    pub(super) fn turn_platform_routes(&mut self) {
        let (mut changes, rings) = (Changes::new(), feeds::rings());
        let edges = self.tables.nodes.values().filter(|node| node.is_edge);
        let wanted = edges.filter_map(|node| {
            let item = RouteItem::Global(GlobalRouteItem::Edge(EdgeItem {
                node_id: node.id,
                region: node.region.clone(),
                forward_address: node.status.as_ref()?.address,
            }));
            rings
                .put(Ring::All, format!("edge/{}", node.id), &item)
                .ok()
        });
        let wanted = wanted.collect();
        self.replace(&mut changes, feeds::global(), "edge/", wanted);
        for region in self.tables.regions.clone() {
            let agents = self.tables.nodes.values();
            let agents = agents.filter(|node| !node.is_edge && node.region == region);
            let wanted = agents.filter_map(|node| {
                let item = RouteItem::Region(RegionRouteItem::Agent(AgentItem {
                    node_id: node.id,
                    address: node.status.as_ref()?.address,
                }));
                rings
                    .put(Ring::All, format!("agent/{}", node.id), &item)
                    .ok()
            });
            let wanted = wanted.collect();
            self.replace(&mut changes, feeds::of_region(&region), "agent/", wanted);
        }
        self.tables.write_feeds(changes);
    }

    fn replace(&self, changes: &mut Changes, feed: FeedName, prefix: &str, wanted: Vec<Change>) {
        let ids: BTreeSet<&str> = wanted.iter().map(Change::id).collect();
        let stale: Vec<Change> = self
            .tables
            .item_ids(&feed, prefix)
            .into_iter()
            .filter(|id| !ids.contains(id.as_str()))
            .map(|id| Change::Delete {
                id,
                cause: DropCause::Deletion,
            })
            .collect();
        changes
            .entry(feed)
            .or_default()
            .extend(wanted.into_iter().chain(stale));
    }
}
