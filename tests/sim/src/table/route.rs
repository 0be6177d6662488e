//! What routes are made of, and since when no route leads to an instance.

use std::collections::BTreeSet;

use control_plane::{
    feed::route::service_item_id,
    store::route::{Positions, Routed},
};
use domain::{
    deployment::acknowledgement::Follower,
    generation::{Generation, Position},
    id::{DeploymentId, InstanceId, ServiceId},
    instance::State,
    ring::Ring,
};
use protocol::{feed::FeedName, item::Endpoint};

use super::{InstanceRow, NodeRow, Tables};
use crate::{clock::Millis, feeds};

impl Tables {
    /// The instances of the routed deployment that shall stay, and all others that routes may still lead to.
    #[must_use]
    pub fn routed(&self, service: ServiceId) -> Vec<Routed> {
        let Some(deployment) = self.services.get(&service).and_then(|row| row.routed) else {
            return Vec::new();
        };
        let stays = |row: &InstanceRow| row.deployment == deployment && row.stop_cause.is_none();
        let of_service = |row: &&InstanceRow| row.service == service && !row.stopped();
        let rows = self.instances.values().filter(of_service);
        let rows = rows.filter(|row| stays(row) || row.unrouted.is_none());
        rows.map(|row| Routed {
            region: row.region.clone(),
            endpoint: row
                .status
                .address
                .filter(|_| row.status.ready && row.status.state == State::Running)
                .map(|address| Endpoint {
                    instance_id: row.id,
                    node_id: row.node,
                    address,
                }),
            instance: row.id,
            stays: stays(row),
        })
        .collect()
    }

    /// Since when the routes of a service are as they are today.
    #[must_use]
    pub fn standing(&self, service: ServiceId) -> Positions {
        let epoch = self.platform.epoch;
        let mut standing = Positions::new();
        for (feed, id) in self.existing_routes(service) {
            let row = self.feeds.get(&feed);
            if let Some(generation) = row.and_then(|row| row.generation_of(&id)) {
                let generation = Generation(generation);
                standing.insert(feed, Position { epoch, generation });
            }
        }
        standing
    }

    /// The items that a service has in routes now.
    #[must_use]
    pub fn existing_routes(&self, service: ServiceId) -> Vec<(FeedName, String)> {
        let id = service_item_id(service);
        let has = |feed: &FeedName, id: &str| {
            let row = self.feeds.get(feed);
            row.is_some_and(|row| row.document.get(id).is_some())
        };
        let regions = feeds::of_regions(&self.regions);
        let regions = regions.map(|feed| (feed, id.clone()));
        let hostname = self.services.get(&service).map(|row| &row.hostname);
        let hostname = hostname.into_iter().flat_map(|host| {
            let id = format!("hostname/{host}");
            feeds::globals().map(move |feed| (feed, id.clone()))
        });
        let mut existing: Vec<_> = regions.chain(hostname).collect();
        existing.retain(|(feed, id)| has(feed, id));
        existing
    }

    /// Remembers since when no route leads to the service's other instances; those that are routed
    /// (again) lose the mark.
    pub fn mark_unrouted(
        &mut self,
        service: ServiceId,
        routed: &[InstanceId],
        positions: &Positions,
        now: Millis,
    ) {
        let of_service = |row: &&mut InstanceRow| row.service == service && !row.stopped();
        for row in self.instances.values_mut().filter(of_service) {
            let is_routed = routed.contains(&row.id);
            if row.unrouted.is_some() == is_routed {
                row.unrouted = (!is_routed).then(|| positions.clone());
                row.unrouted_at = (!is_routed).then_some(now);
            }
        }
    }

    /// The time that late edges have begins now, for instances that are about to go.
    pub fn begin_late_time(&mut self, service: ServiceId, now: Millis) {
        let about_to_go = |row: &&mut InstanceRow| {
            row.service == service
                && row.unrouted.is_some()
                && row.stop_cause.is_none()
                && !row.stopped()
        };
        for row in self.instances.values_mut().filter(about_to_go) {
            row.unrouted_at = Some(now);
        }
    }

    /// Makes edges use this deployment's instances from the next routes on.
    pub fn point_to(&mut self, service: ServiceId, deployment: Option<DeploymentId>) {
        if let Some(row) = self.services.get_mut(&service) {
            row.routed = deployment;
        }
    }

    /// Each edge that follows one of these documents, and whether it has applied the position of it in the
    /// ring that it follows.
    #[must_use]
    pub fn followers(&self, positions: &Positions) -> Vec<Follower> {
        let edges = || self.nodes.values().filter(|node| node.is_edge);
        let tiers: BTreeSet<FeedName> = positions.keys().map(FeedName::tier).collect();
        let mut followers = Vec::new();
        for tier in tiers {
            let region = feeds::region_of(&tier);
            let follows = |node: &&NodeRow| region.is_none_or(|of| node.region == *of);
            followers.extend(edges().filter(follows).map(|node| Follower {
                applied: self.has_applied_in_a_ring(node, &tier, positions),
                late: node.is_late(),
            }));
        }
        followers
    }

    fn has_applied_in_a_ring(
        &self,
        edge: &NodeRow,
        tier: &FeedName,
        positions: &Positions,
    ) -> bool {
        let mut rings = Ring::ORDER.into_iter().map(|ring| tier.with_ring(ring));
        rings.any(|feed| {
            let applied = self.node_feeds.get(&(edge.id, feed.clone()));
            let position = positions.get(&feed);
            position.is_some_and(|position| applied.is_some_and(|applied| applied >= position))
        })
    }

    /// Feeds of regions that have no item of the service, and of which an edge keeps items that they lack.
    #[must_use]
    pub fn kept_routes(&self, service: ServiceId) -> Vec<FeedName> {
        let id = service_item_id(service);
        let is_kept = |feed: &FeedName| {
            let mut held = self.held_drops.iter();
            held.any(|((_, of), held)| of == feed && *held > 0)
        };
        let lacks = |feed: &FeedName| {
            let row = self.feeds.get(feed);
            row.is_none_or(|row| row.document.get(&id).is_none())
        };
        feeds::of_regions(&self.regions)
            .filter(|feed| is_kept(feed) && lacks(feed))
            .collect()
    }

    /// Whether every edge has said what it has of its region's routes since the epoch began.
    #[must_use]
    pub fn edges_are_of_this_epoch(&self) -> bool {
        let mut edges = self.nodes.values().filter(|node| node.is_edge);
        edges.all(|edge| {
            let key = (edge.id, feeds::of_region(&edge.region, edge.ring));
            let applied = self.node_feeds.get(&key);
            applied.is_some_and(|applied| applied.epoch == self.platform.epoch)
        })
    }

    /// Every service that has, or may need, routes.
    #[must_use]
    pub fn routed_services(&self) -> Vec<ServiceId> {
        let routed = self.services.values();
        let routed = routed.filter(|row| row.routed.is_some());
        routed.map(|row| row.id).collect()
    }

    /// Instances of other deployments of the service that have not ended.
    #[must_use]
    pub fn older_instances(&self, deployment: DeploymentId) -> Vec<&InstanceRow> {
        let service = self.deployments.get(&deployment).map(|row| row.service);
        let rows = self.instances.values();
        rows.filter(|row| {
            Some(row.service) == service && row.deployment != deployment && !row.stopped()
        })
        .collect()
    }
}
