//! What the agent tells the control plane: instances as seen, what they use, builds, capacity.
//! `link` sends it; this gathers it, and asks for a report at once when something changed.

use std::{net::SocketAddr, sync::Arc};

use link::report::Poke;
use protocol::report::{AgentReport, BuildReport, Capacity, InstanceReport, RoleReport};
use tokio::sync::watch;

use crate::{
    reconcile::Observed,
    usage::{self, Usages},
};

/// Where a report's parts come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What the node offers.
    pub capacity: Capacity,
    /// Where edges ask this agent.
    pub address: SocketAddr,
    /// From the reconciler.
    pub observed: watch::Receiver<Arc<Observed>>,
    /// From the engine.
    pub usages: watch::Receiver<Arc<Usages>>,
    /// From the builder.
    pub builds: watch::Receiver<Vec<BuildReport>>,
}

impl Sources {
    /// What is seen now.
    #[must_use]
    pub fn report(&self) -> RoleReport {
        let usages = Arc::clone(&self.usages.borrow());
        let with_usage = |instance: &InstanceReport| InstanceReport {
            usage: usages.get(&instance.id).copied().unwrap_or_default(),
            ..instance.clone()
        };
        RoleReport::Agent(AgentReport {
            capacity: self.capacity,
            usage: usage::total(&usages),
            address: self.address,
            instances: self
                .observed
                .borrow()
                .instances
                .iter()
                .map(with_usage)
                .collect(),
            builds: self.builds.borrow().clone(),
        })
    }

    /// Asks for a report with each change of an instance or a build, until the task is dropped.
    pub async fn poke(mut self, poke: Poke) {
        loop {
            let changed = tokio::select! {
                changed = self.observed.changed() => changed,
                changed = self.builds.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            poke.now();
        }
    }
}
