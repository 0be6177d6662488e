//! Which endpoints were confirmed, on disk: after a restart they are used until their agents answer. Nobody waits for
//! that disk, and when it is slow it gets the newest state at last.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::id::InstanceId;
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::JoinError};

use super::endpoint::Confirmed;
use crate::{route::RouteTable, state::State};

/// Between two writes.
const REST: Duration = Duration::from_secs(1);
/// After one that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Why confirmations are not on disk.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Disk(#[from] link::disk::Error),
    #[error("confirmations can't be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("writing confirmations was broken off: {0}")]
    BrokenOff(#[from] JoinError),
}

/// The file of confirmations.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    changed: Notify,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    confirmed: BTreeSet<(InstanceId, SocketAddr)>,
}

impl Kept {
    fn of(routes: &RouteTable) -> Self {
        let confirmed = routes.watched(|endpoint| endpoint.confirmed() == Confirmed::Yes);
        let confirmed = confirmed
            .iter()
            .map(|(_, endpoint)| (endpoint.spec.instance_id, endpoint.spec.address))
            .collect();
        Self { confirmed }
    }
}

impl Memory {
    /// In the edge's state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("confirmed-endpoints.json"),
            changed: Notify::new(),
        }
    }

    /// Endpoints that were confirmed before the restart are usable until their agent answers.
    pub fn recall(&self, routes: &RouteTable) {
        let kept: Kept = match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %self.path.display(), "confirmations on disk can't be read; agents are asked");
                Kept::default()
            }),
            Err(_) => return,
        };
        for (_, endpoint) in routes.watched(|_| true) {
            let key = (endpoint.spec.instance_id, endpoint.spec.address);
            if kept.confirmed.contains(&key) {
                endpoint.remember();
            }
        }
    }

    /// What is on disk is no longer true.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Keeps the disk true for as long as the edge lives: one write at a time, and after the last change one more.
    pub async fn run(self: Arc<Self>, state: Arc<State>) {
        loop {
            self.changed.notified().await;
            let rest = match self.write(state.routes.load_full()).await {
                Ok(()) => REST,
                Err(error) => {
                    tracing::warn!(%error, "what agents confirmed is not on disk; trying again");
                    self.changed();
                    REST_AFTER_FAILURE
                }
            };
            tokio::time::sleep(rest).await;
        }
    }

    /// On a thread that may wait for the disk.
    async fn write(&self, routes: Arc<RouteTable>) -> Result<(), Error> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || replace(&path, &routes)).await?
    }
}

fn replace(path: &Path, routes: &RouteTable) -> Result<(), Error> {
    let kept = serde_json::to_vec(&Kept::of(routes))?;
    Ok(link::disk::replace(path, &kept)?)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use domain::id::{DeploymentId, NodeId, ServiceId};
    use futures::FutureExt as _;
    use prometheus::Registry;
    use protocol::item::{self, RegionRouteItem, ServiceItem};
    use testkit::hung_file::HungFile;

    use super::*;
    use crate::{
        metrics::Metrics,
        upstream::{counters::Counters, endpoint::Failure},
    };

    fn service(ports: &[u16]) -> ServiceItem {
        let endpoint = |port: &u16| item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], *port).into(),
        };
        ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints: ports.iter().map(endpoint).collect(),
            health_path: None,
            traceparent: None,
        }
    }

    fn table(item: &ServiceItem) -> Arc<RouteTable> {
        let item = RegionRouteItem::Service(item.clone());
        let (before, counters) = (RouteTable::default(), Counters::default());
        Arc::new(RouteTable::build(&[], &[&item], &before, &counters))
    }

    /// With one endpoint, which is confirmed.
    fn confirmed(port: u16) -> Arc<RouteTable> {
        let routes = table(&service(&[port]));
        for (_, endpoint) in routes.watched(|_| true) {
            endpoint.confirm(true);
        }
        routes
    }

    #[tokio::test]
    async fn a_restart_remembers_exactly_the_confirmed_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path());
        let mut item = service(&[1, 2, 3, 4]);
        let before = table(&item);
        let pool = before.service(item.service_id).unwrap();
        let [a, b, _, refused] = pool.endpoints() else {
            panic!()
        };
        for endpoint in [a, b, refused] {
            endpoint.confirm(true);
        }
        refused.probe_failed(Failure::Connect);
        memory.write(before.clone()).await.unwrap();

        item.endpoints[1].address.set_port(9);
        let after = table(&item);
        memory.recall(&after);
        let pool = after.service(item.service_id).unwrap();
        let confirmed: Vec<_> = pool.endpoints().iter().map(|e| e.confirmed()).collect();
        assert_eq!(
            confirmed,
            [
                Confirmed::Yes,
                Confirmed::Unknown,
                Confirmed::Unknown,
                Confirmed::Unknown
            ]
        );
        assert!(
            pool.endpoints()[0].wants_confirmation(),
            "it is asked all the same"
        );
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_nobody_up_and_gets_the_newest_state_at_last() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let (state, _wanted) = State::new(NodeId::new(), "eu-west".parse().unwrap(), metrics);
        let memory = Arc::new(Memory::new(dir.path()));
        let disk = HungFile::at(&dir.path().join("confirmed-endpoints.json.new"));
        let [first, second, newest] = [1, 2, 3].map(confirmed);
        let content = |routes: &RouteTable| serde_json::to_vec(&Kept::of(routes)).unwrap();

        let mut running = pin!(Arc::clone(&memory).run(Arc::clone(&state)));
        for routes in [&first, &second, &newest] {
            state.routes.store(Arc::clone(routes));
            memory.changed();
            assert!(running.as_mut().now_or_never().is_none());
        }
        assert_eq!(disk.heal(), content(&first), "one write was under way");

        tokio::time::pause();
        let kept = async {
            while std::fs::read(&memory.path).ok() != Some(content(&newest)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = running => unreachable!("it runs for ever"),
            kept = tokio::time::timeout(REST_AFTER_FAILURE * 2, kept) => kept.unwrap(),
        }
    }
}
