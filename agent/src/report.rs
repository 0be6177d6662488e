//! What the agent tells the control plane: instances as seen, what they use, builds, capacity.
//! `link` sends it; this gathers it, and asks for a report at once when something changed.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use domain::id::{EnvironmentId, InstanceId};
use link::report::Poke;
use protocol::report::{
    AgentReport, BuildReport, Capacity, InstanceReport, Kept, RoleReport, StoredItem,
};
use tokio::sync::watch;

use crate::{
    desired::Desired,
    garbage::Images,
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
    /// From the feed.
    pub desired: watch::Receiver<Option<Arc<Desired>>>,
    /// What was pulled.
    pub images: Arc<Images>,
    /// Environments with a network, once the engine was asked.
    pub networks: watch::Receiver<Option<BTreeSet<EnvironmentId>>>,
}

impl Sources {
    /// What is seen now.
    #[must_use]
    pub fn report(&self) -> RoleReport {
        let usages = Arc::clone(&self.usages.borrow());
        let seen = |instance: &InstanceReport| InstanceReport {
            usage: usages.get(&instance.id).copied().unwrap_or_default(),
            item: self.stored(instance.id),
            ..instance.clone()
        };
        RoleReport::Agent(AgentReport {
            capacity: self.capacity,
            usage: usage::total(&usages),
            address: self.address,
            instances: self.observed.borrow().instances.iter().map(seen).collect(),
            builds: self.builds.borrow().clone(),
            kept: self.kept(),
        })
    }

    /// The item of an orphan.
    fn stored(&self, instance: InstanceId) -> Option<StoredItem> {
        let desired = self.desired.borrow();
        let wanted = desired.as_ref()?.instances.get(&instance)?;
        wanted.stored.clone()
    }

    /// What this node keeps of services; none while it does not know all of it.
    fn kept(&self) -> Option<Kept> {
        let observed = Arc::clone(&self.observed.borrow());
        let networks = self.networks.borrow().clone();
        let mut environments = networks.filter(|_| observed.complete)?;
        environments.extend(&observed.environments);
        let mut services = self.images.services();
        services.extend(&observed.services);
        Some(Kept {
            services,
            environments,
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
