//! What a workload may reach: its own environment and the internet. Never the host, link-local
//! (metadata) addresses, what the operator denies, or another environment.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::id::EnvironmentId;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, watch};

use crate::{
    reconcile::Observed,
    runtime::{self, PublishedPort, Runtime},
};

pub mod firewall;
pub mod iptables;
pub mod published;
mod standby;

const GUARD_AGAIN: Duration = Duration::from_secs(10);

/// The bridge of an environment's network. The random end of a UUIDv7, because its begin is a
/// time that neighbours share; 15 characters are the kernel's limit.
#[must_use]
pub fn bridge_name(environment: EnvironmentId) -> String {
    let id = environment.uuid().simple().to_string();
    format!("rh-{}", id.get(20..).unwrap_or(&id))
}

/// Keeps workloads in. Without it nothing is started.
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// Makes sure that exactly these environments have ways within themselves, and none elsewhere.
    async fn ensure(&self, environments: &BTreeSet<EnvironmentId>) -> Result<(), iptables::Error>;
    /// Published ports stay open without the engine, as far as their containers live.
    async fn stand_by(&self, ports: &BTreeSet<PublishedPort>) -> Result<(), iptables::Error>;
    /// Published ports are the engine's again.
    async fn stand_down(&self) -> Result<(), iptables::Error>;
}

/// Why an environment's network is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine refused.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The rules are not in force.
    #[error("the firewall for workloads is not in force: {0}")]
    Firewall(#[from] iptables::Error),
}

/// Checks again and again that the rules are in force, whoever may have flushed them, until the
/// task is dropped.
pub async fn keep_guarded(networks: Arc<Networks>, observed: watch::Receiver<Arc<Observed>>) {
    let mut ticks = tokio::time::interval(GUARD_AGAIN);
    loop {
        ticks.tick().await;
        let environments = observed.borrow().environments.clone();
        if let Err(error) = networks.guard(environments).await {
            tracing::error!(%error, "workloads are not kept in: nothing is started until they are");
        }
    }
}

/// The private networks of this node.
pub struct Networks {
    runtime: Arc<dyn Runtime>,
    guard: Box<dyn Guard>,
    environments: Mutex<BTreeSet<EnvironmentId>>,
    present: watch::Sender<Option<BTreeSet<EnvironmentId>>>,
    /// Read by whoever starts a container.
    starts: RwLock<()>,
}

/// As long as it lives a container may get an address, and no rules of ours lead to any.
pub struct StartPermit<'a> {
    _starts: RwLockReadGuard<'a, ()>,
}

impl Networks {
    /// None known yet.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, guard: Box<dyn Guard>) -> Self {
        Self {
            runtime,
            guard,
            environments: Mutex::default(),
            present: watch::Sender::default(),
            starts: RwLock::default(),
        }
    }

    /// Environments that have a network here, for reports; none before the engine was asked for all.
    #[must_use]
    pub fn present(&self) -> watch::Receiver<Option<BTreeSet<EnvironmentId>>> {
        self.present.subscribe()
    }

    /// Before a container is started: its network is there and the rules are in force.
    ///
    /// # Errors
    /// When one of them is not.
    pub async fn ensure(&self, environment: EnvironmentId) -> Result<(), Error> {
        let mut environments = self.environments.lock().await;
        environments.insert(environment);
        self.present.send_modify(|present| {
            if let Some(all) = present {
                all.insert(environment);
            }
        });
        self.runtime.ensure_network(environment).await?;
        Ok(self.guard.ensure(&environments).await?)
    }

    /// The same, for the time of its start.
    ///
    /// # Errors
    /// When one of them is not.
    pub async fn permit_start(&self, environment: EnvironmentId) -> Result<StartPermit<'_>, Error> {
        self.ensure(environment).await?;
        let starts = self.starts.read().await;
        self.guard.stand_down().await?;
        Ok(StartPermit { _starts: starts })
    }

    /// The engine is away: published ports stay open, once no start is under way.
    ///
    /// # Errors
    /// When they don't.
    pub async fn stand_by(&self, ports: &BTreeSet<PublishedPort>) -> Result<(), Error> {
        let _no_start = self.starts.write().await;
        Ok(self.guard.stand_by(ports).await?)
    }

    /// The engine answers.
    ///
    /// # Errors
    /// When rules of ours are left.
    pub async fn stand_down(&self) -> Result<(), Error> {
        Ok(self.guard.stand_down().await?)
    }

    /// Again and again, whatever happened to the rules: they are in force for these environments.
    ///
    /// # Errors
    /// When they are not.
    pub async fn guard(
        &self,
        in_use: impl IntoIterator<Item = EnvironmentId>,
    ) -> Result<(), Error> {
        let mut environments = self.environments.lock().await;
        environments.extend(in_use);
        Ok(self.guard.ensure(&environments).await?)
    }

    /// Removes networks of environments that nothing here uses. One that can't be removed holds up no other, and nobody
    /// who waits to hear which are left.
    ///
    /// # Errors
    /// When the engine refuses; the first refusal.
    pub async fn remove_unused(&self, in_use: &BTreeSet<EnvironmentId>) -> Result<(), Error> {
        let mut environments = self.environments.lock().await;
        let mut present: BTreeSet<_> = self.runtime.networks().await?.into_iter().collect();
        let unused: Vec<_> = present.difference(in_use).copied().collect();
        let mut removed = Ok(());
        for environment in unused {
            match self.runtime.remove_network(environment).await {
                Ok(()) => {
                    environments.remove(&environment);
                    present.remove(&environment);
                }
                Err(error) => removed = removed.and(Err(error.into())),
            }
        }
        self.present.send_replace(Some(present));
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fake::Fake;

    struct Open;

    #[async_trait]
    impl Guard for Open {
        async fn ensure(&self, _: &BTreeSet<EnvironmentId>) -> Result<(), iptables::Error> {
            Ok(())
        }

        async fn stand_by(&self, _: &BTreeSet<PublishedPort>) -> Result<(), iptables::Error> {
            Ok(())
        }

        async fn stand_down(&self) -> Result<(), iptables::Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_network_that_cannot_be_removed_holds_up_no_other() {
        let engine = Arc::new(Fake::default());
        let networks = Networks::new(Arc::clone(&engine) as Arc<dyn Runtime>, Box::new(Open));
        let [stuck, used, unused] = [(); 3].map(|()| EnvironmentId::new());
        for environment in [stuck, used, unused] {
            networks.ensure(environment).await.unwrap();
        }
        engine.world().stuck_networks.insert(stuck);
        let refused = networks.remove_unused(&[used].into()).await;
        assert!(refused.is_err());
        assert_eq!(engine.world().networks, [stuck, used].into());
        assert_eq!(*networks.present().borrow(), Some([stuck, used].into()));
    }

    #[test]
    fn fits_the_kernel_s_limit_and_differs_between_neighbours() {
        let (one, other) = (EnvironmentId::new(), EnvironmentId::new());
        assert_eq!(bridge_name(one).len(), 15);
        assert_ne!(bridge_name(one), bridge_name(other));
    }
}
