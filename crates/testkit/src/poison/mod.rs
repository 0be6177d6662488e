//! Poisoned feeds: what no right control plane would send to a node. Half of it is not ours, half is well-formed,
//! digested, signed, and meant badly. For tests of whoever follows feeds.

mod absurd;
mod forge;
mod kinds;
mod source;

use std::net::SocketAddr;

use domain::id::{DeploymentId, InstanceId, NodeId, ServiceId};
use protocol::item::{Endpoint, RegionRouteItem, ServiceItem, ServicePolicy};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

pub use forge::{Forge, Items, Set};
pub use kinds::{Kind, Kitchen, Poison};
pub use source::Source;

/// Where poison comes from: the same seed cooks the same.
#[derive(Debug)]
pub struct Chance(StdRng);

impl Chance {
    /// Of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// True in so many of a thousand cases.
    pub fn is(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1_000) < per_mille
    }

    /// One of them; none of nothing.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        match all.len() {
            0 => None,
            count => all.get(self.below(count)),
        }
    }

    /// An index below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }
}

/// The item of a service's routes in a region, with its id.
///
/// # Panics
/// When it can't be JSON.
#[must_use]
pub fn service_item(id: ServiceId, endpoints: Vec<Endpoint>) -> (String, Value) {
    let item = RegionRouteItem::Service(ServiceItem {
        service_id: id,
        deployment_id: DeploymentId::new(),
        endpoints,
        health_path: Some("/health".to_owned()),
        traceparent: None,
        policy: ServicePolicy::default(),
        splits: Vec::new(),
    });
    let item = serde_json::to_value(&item).expect("the item is JSON");
    (format!("service/{id}"), item)
}

/// A new instance at this address.
#[must_use]
pub fn endpoint(node_id: NodeId, address: SocketAddr) -> Endpoint {
    Endpoint {
        instance_id: InstanceId::new(),
        node_id,
        address,
    }
}
