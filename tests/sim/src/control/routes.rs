//! Routes of services: what the real renderer makes of the model's rows.

use control_plane::{
    feed::route::{View, changes},
    store::route::{Positions, Routed},
};
use domain::{id::ServiceId, name::Name, spec::ServiceKind};

use super::Prepared;
use crate::{fault::Fault, feeds, world::World};

/// A service whose routes are about to be written anew.
#[derive(Debug, Clone, Copy)]
pub struct Routing {
    service: ServiceId,
    locked: u64,
}

impl World {
    pub(super) fn turn_routes(&mut self, replica: usize) {
        for (order, service) in self.tables.routed_services().into_iter().enumerate() {
            let locked = self.locked(service);
            let routing = Routing { service, locked };
            self.commit_later(replica, order, Prepared::Routing(routing));
        }
    }

    pub(super) fn commit_routing(&mut self, replica: usize, routing: Routing) {
        if self.lock(replica, routing.service, routing.locked) {
            self.write_routes(routing.service);
        }
    }

    /// Writes a service's routes; answers where the feeds that it has or had a part in now stand.
    pub(super) fn write_routes(&mut self, id: ServiceId) -> Positions {
        let mut instances = self.tables.routed(id);
        if self.fault == Some(Fault::RegionLeftAtOnce) {
            instances.retain(|instance| instance.stays);
        }
        self.write_routes_to(id, &instances)
    }

    /// Likewise, without the instances of this region that shall not stay.
    pub(super) fn release_region(&mut self, id: ServiceId, region: &Name) {
        let mut instances = self.tables.routed(id);
        instances.retain(|instance| instance.stays || instance.region != *region);
        self.write_routes_to(id, &instances);
    }

    fn write_routes_to(&mut self, id: ServiceId, instances: &[Routed]) -> Positions {
        let Some(service) = self.tables.service(id) else {
            return Positions::new();
        };
        let release = match service.routed {
            Some(deployment) if !service.deleted => self.tables.release_of(deployment),
            _ => None,
        };
        let release = release
            .as_ref()
            .filter(|release| release.spec.kind == ServiceKind::Web);
        let hostname = self
            .tables
            .services
            .get(&id)
            .map(|row| row.hostname.clone());
        let hostnames: Vec<String> = hostname.into_iter().collect();
        let existing = self.tables.existing_routes(id);
        let never_routed = release.is_none() && existing.is_empty();
        let mut positions = Positions::new();
        let view = View {
            service: &service,
            release,
            hostnames: &hostnames,
            certificates: &[],
            instances,
            existing: &existing,
        };
        if !never_routed
            && let Some(rings) = self.rings()
            && let Ok(changes) = changes(&view, &rings)
        {
            self.note_left(id, instances);
            positions = self.tables.write_feeds(changes);
        }
        self.tables
            .mark_unrouted(id, &view.routed(), &positions, self.now);
        positions
    }

    /// Tells what the service has in regions that it is about to leave for others.
    fn note_left(&mut self, id: ServiceId, instances: &[Routed]) {
        let (stay, go): (Vec<_>, Vec<_>) = instances.iter().partition(|i| i.stays);
        let is_left = |region: &Name| {
            let is_in = |i: &&Routed| i.region == *region;
            !stay.is_empty() && !stay.iter().any(is_in) && go.iter().any(is_in)
        };
        for (feed, item_id) in self.tables.existing_routes(id) {
            let Some(region) = feeds::region_of(&feed).filter(|region| is_left(region)) else {
                continue;
            };
            let row = self.tables.feeds.get(&feed);
            let item = row.and_then(|row| row.document.get(&item_id));
            if let Some(item) = item.and_then(|item| serde_json::from_str(item.json()).ok()) {
                self.checker.leaves(region, item);
            }
        }
    }
}
