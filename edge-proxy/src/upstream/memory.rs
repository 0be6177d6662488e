//! Which endpoints could be used, on disk: after a restart they are used until their agents answer. Nobody waits for
//! that disk, and when it is slow it gets the newest state at last.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use link::writing::Writing;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

use super::pool::{Kept, ServicePool};
use crate::{route::RouteTable, state::State};

/// Between two writes at most. With few endpoints it is shorter: writing takes one part of so many of the time.
const REST: Duration = Duration::from_secs(1);
const PARTS: u32 = 10;
/// After one that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// It is written again as often, so that its age tells how long the edge was away.
const AT_LEAST_EVERY: Duration = Duration::from_secs(3600);
/// For so long an agent gives no address to somebody else. What is older must be confirmed anew.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Why what can be used is not on disk.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{} can't be written: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("it can't be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("writing it was broken off: {0}")]
    BrokenOff(#[from] JoinError),
}

/// The file of endpoints.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    reading: Mutex<Option<JoinHandle<Remembered>>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    /// Seconds since 1970.
    at: u64,
    services: Vec<Kept>,
}

impl Remembered {
    fn of(routes: &RouteTable) -> Self {
        let now = Instant::now();
        Self {
            at: unix_now(),
            services: routes.services().filter_map(|p| p.kept(now)).collect(),
        }
    }
}

impl Memory {
    /// In the edge's state folder. It is read beside whatever else is done at the start.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        let path = state_dir.join("confirmed-endpoints.json");
        let file = path.clone();
        let reading = thread::spawn(move || read(&file));
        Self {
            path,
            reading: Mutex::new(Some(reading)),
        }
    }

    /// What this edge had before it ended. Waits until it is read.
    #[must_use]
    pub fn recall(&self) -> RouteTable {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let read = reading.take().and_then(|reading| reading.join().ok());
        let (file, now) = (read.unwrap_or_default(), Instant::now());
        let ago = Duration::from_secs(unix_now().saturating_sub(file.at));
        let kept = file.services.into_iter().filter(|_| ago < GOOD_FOR);
        RouteTable::recalled(kept.map(|kept| ServicePool::recalled(kept, ago, now)))
    }

    /// Keeps the disk true for as long as the edge lives: one write at a time, and after the last change one more.
    pub async fn run(self: Arc<Self>, state: Arc<State>, writing: Writing) {
        loop {
            let wanted = state.keep_wanted.notified();
            // Without a change it is only written again.
            let _ = tokio::time::timeout(AT_LEAST_EVERY, wanted).await;
            let turn = writing.turn().await;
            let begun = Instant::now();
            let written = self.write(state.routes.load_full()).await;
            drop(turn);
            let rest = match written {
                Ok(()) => REST.min(begun.elapsed() * (PARTS - 1)),
                Err(error) => {
                    tracing::warn!(%error, "which endpoints can be used is not on disk; trying again");
                    state.keep_wanted.notify_one();
                    REST_AFTER_FAILURE
                }
            };
            tokio::time::sleep(rest).await;
        }
    }

    /// On a thread that may wait for the disk.
    async fn write(&self, routes: Arc<RouteTable>) -> Result<(), Error> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let file = serde_json::to_vec(&Remembered::of(&routes))?;
            replace(&path, &file).map_err(|source| Error::Disk { path, source })
        })
        .await?
    }
}

/// A file that can't be read is none: agents are asked.
fn read(path: &Path) -> Remembered {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "endpoints on disk can't be read; agents are asked");
            Remembered::default()
        }),
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "no endpoints on disk");
            Remembered::default()
        }
    }
}

/// Whole, or not at all. The end of this process takes nothing of it; for the end of the machine, when all endpoints
/// end as well, nobody waits.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    // What a write that was cut off has left behind.
    file.set_len(bytes.len() as u64)?;
    fs::rename(&beside, path)
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use domain::id::{DeploymentId, InstanceId, NodeId, ServiceId};
    use futures::FutureExt as _;
    use prometheus::Registry;
    use protocol::item::{self, RegionRouteItem, ServiceItem, ServicePolicy};
    use testkit::hung_file::HungFile;

    use super::*;
    use crate::{
        metrics::Metrics,
        upstream::{
            counters::Counters,
            endpoint::{Confirmed, Failure},
        },
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
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        }
    }

    fn table(item: &ServiceItem, before: &RouteTable) -> Arc<RouteTable> {
        let item = RegionRouteItem::Service(item.clone());
        let counters = Counters::default();
        Arc::new(RouteTable::build(&[], &[&item], before, &counters))
    }

    /// With these endpoints, which are confirmed.
    fn confirmed(item: &ServiceItem) -> Arc<RouteTable> {
        let routes = table(item, &RouteTable::default());
        for (_, endpoint) in routes.watched(|_| true) {
            endpoint.confirm(true);
        }
        routes
    }

    fn state() -> Arc<State> {
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        State::new(NodeId::new(), "eu-west".parse().unwrap(), metrics).0
    }

    #[test]
    fn times_out_of_all_proportion_keep_no_edge_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(&[1]);
        let file = serde_json::json!({"at": unix_now(), "services": [{
            "service_id": service.service_id,
            "deployment_id": service.deployment_id,
            "leaving": [[service.endpoints[0], u64::MAX]],
        }]});
        let path = dir.path().join("confirmed-endpoints.json");
        fs::write(path, file.to_string()).unwrap();
        let recalled = Memory::new(dir.path()).recall();
        let pool = recalled.service(service.service_id).unwrap();
        assert!(pool.all(Instant::now()).is_empty());
    }

    #[tokio::test]
    async fn a_restart_remembers_exactly_the_confirmed_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let mut item = service(&[1, 2, 3, 4]);
        let before = table(&item, &RouteTable::default());
        let pool = before.service(item.service_id).unwrap();
        let [a, b, _, refused] = pool.endpoints() else {
            panic!()
        };
        for endpoint in [a, b, refused] {
            endpoint.confirm(true);
        }
        refused.probe_failed(Failure::Connect);
        Memory::new(dir.path()).write(before.clone()).await.unwrap();

        item.endpoints[1].address.set_port(9);
        let after = table(&item, &Memory::new(dir.path()).recall());
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
    async fn after_a_day_all_must_be_confirmed_anew_and_a_torn_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let item = service(&[1]);
        let remembers = || {
            let recalled = Memory::new(dir.path()).recall();
            let pool = recalled.service(item.service_id);
            pool.is_some_and(|pool| pool.endpoints()[0].confirmed() == Confirmed::Yes)
        };
        let memory = Memory::new(dir.path());
        assert!(!remembers(), "there is no file");
        memory.write(confirmed(&item)).await.unwrap();
        assert!(remembers());
        let whole = fs::read(&memory.path).unwrap();
        let mut file: Remembered = serde_json::from_slice(&whole).unwrap();
        for (age, is_good) in [(3600, true), (25 * 3600, false)] {
            file.at = unix_now() - age;
            fs::write(&memory.path, serde_json::to_vec(&file).unwrap()).unwrap();
            assert_eq!(remembers(), is_good, "{age} s");
        }
        fs::write(&memory.path, &whole[..whole.len() / 2]).unwrap();
        assert!(!remembers());
    }

    #[tokio::test]
    async fn a_change_is_on_disk_at_once_also_right_after_another() {
        let (dir, state) = (tempfile::tempdir().unwrap(), state());
        let memory = Arc::new(Memory::new(dir.path()));
        let running = tokio::spawn(Arc::clone(&memory).run(Arc::clone(&state), Writing::default()));
        let begun = Instant::now();
        for port in 1..=5 {
            let item = service(&[port]);
            state.routes.store(confirmed(&item));
            state.keep_wanted.notify_one();
            let address = item.endpoints[0].address.to_string();
            let is_there = || fs::read_to_string(&memory.path).is_ok_and(|t| t.contains(&address));
            while !is_there() {
                assert!(begun.elapsed() < REST * 4, "it waits for its turn");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        running.abort();
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_nobody_up_and_gets_the_newest_state_at_last() {
        let (dir, state) = (tempfile::tempdir().unwrap(), state());
        let memory = Arc::new(Memory::new(dir.path()));
        let disk = HungFile::at(&dir.path().join("confirmed-endpoints.json.new"));
        let items = [1, 2, 3].map(|port| service(&[port]));
        let has = |content: &[u8], item: &ServiceItem| {
            let content = String::from_utf8_lossy(content);
            content.contains(&item.endpoints[0].instance_id.to_string())
        };

        let mut running = pin!(Arc::clone(&memory).run(Arc::clone(&state), Writing::default()));
        for item in &items {
            state.routes.store(confirmed(item));
            state.keep_wanted.notify_one();
            assert!(running.as_mut().now_or_never().is_none());
        }
        assert!(has(&disk.heal(), &items[0]), "one write was under way");

        tokio::time::pause();
        let kept = async {
            while !fs::read(&memory.path).is_ok_and(|content| has(&content, &items[2])) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = running => unreachable!("it runs for ever"),
            kept = tokio::time::timeout(REST_AFTER_FAILURE * 2, kept) => kept.unwrap(),
        }
    }
}
