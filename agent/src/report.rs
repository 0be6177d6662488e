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
    /// What is seen now. Nothing stays borrowed: whoever borrows again what it still holds waits for a writer that came in
    /// between, and that one for it.
    #[must_use]
    pub fn report(&self) -> RoleReport {
        let observed = Arc::clone(&self.observed.borrow());
        let usages = Arc::clone(&self.usages.borrow());
        let desired = self.desired.borrow().clone();
        let builds = self.builds.borrow().clone();
        let seen = |instance: &InstanceReport| InstanceReport {
            usage: usages.get(&instance.id).copied().unwrap_or_default(),
            item: desired.as_ref().and_then(|d| stored(d, instance.id)),
            ..instance.clone()
        };
        RoleReport::Agent(AgentReport {
            capacity: self.capacity,
            usage: usage::total(&usages),
            address: self.address,
            instances: observed.instances.iter().map(seen).collect(),
            builds,
            kept: self.kept(&observed),
        })
    }

    /// What this node keeps of services; none while it does not know all of it.
    fn kept(&self, observed: &Observed) -> Option<Kept> {
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

/// The item of an orphan.
fn stored(desired: &Desired, instance: InstanceId) -> Option<StoredItem> {
    desired.instances.get(&instance)?.stored.clone()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use domain::{
        id::BuildId,
        quantity::{Bytes, MilliCpu},
    };
    use protocol::report::BuildState;

    use super::*;

    const REPORTS: usize = 200;
    /// With so many, each report takes long enough for a change to come amid it.
    const BUILDS: usize = 10_000;
    /// They take a part of a second, unless nobody goes on any more.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn reports_go_on_while_what_is_seen_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (observed, seen) = watch::channel(Arc::default());
        let build = BuildReport {
            id: BuildId::new(),
            state: BuildState::Waiting,
            started_at: None,
        };
        let sources = Sources {
            capacity: Capacity {
                cpu: MilliCpu(1_000),
                memory: Bytes(1 << 30),
            },
            address: ([127, 0, 0, 1], 7444).into(),
            observed: seen,
            usages: watch::channel(Arc::default()).1,
            builds: watch::channel(vec![build; BUILDS]).1,
            desired: watch::channel(None).1,
            images: Arc::new(Images::load(folder.path().join("images.json")).unwrap()),
            networks: watch::channel(None).1,
        };
        // Until the last reader is gone.
        thread::spawn(move || while observed.send(Arc::default()).is_ok() {});
        let (made, reports) = mpsc::channel();
        thread::spawn(move || {
            for _ in 0..REPORTS {
                let _ = sources.report();
            }
            drop(sources);
            made.send(())
        });
        assert_eq!(reports.recv_timeout(PATIENCE), Ok(()));
    }
}
