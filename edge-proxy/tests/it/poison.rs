//! The edge's process is sent poison of every kind: it does not die of it, serves its users all the time, and takes
//! the next right document. `RAILHEAD_POISON=full` sends ten times as much, `RAILHEAD_POISON_SEED` other poison.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{id::ServiceId, ring::Ring};
use futures::StreamExt as _;
use protocol::feed::{Commit, FeedName};
use testkit::poison::{Chance, Forge, Kind, Kitchen, Poison, Source};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::{Agent, Ca, ControlPlane, Instance, Process, Routes, http1_only, until};

/// Each instance answers with its own.
const HOSTNAMES: [&str; 4] = ["app-0.test", "app-1.test", "app-2.test", "app-3.test"];
/// Until an edge has said what it makes of poison. Of endpoints that are dead it says nothing for long: it acknowledges
/// what it has judged.
const HEEDED_WITHIN: Duration = Duration::from_secs(1);

/// Global routes, and those of the region.
type Feeds = Arc<[Mutex<Source>; 2]>;

const fn place(feed: &FeedName) -> usize {
    match feed {
        FeedName::GlobalRoutes(_) => 0,
        _ => 1,
    }
}

struct Trial {
    edge: Process,
    users: reqwest::Client,
    control_plane: ControlPlane,
    feeds: Feeds,
    agent: Agent,
    _instances: Vec<Instance>,
    services: Vec<ServiceId>,
    chance: Chance,
    /// Of each kind: how many were not refused as a document.
    applied: BTreeMap<Kind, usize>,
    _dir: tempfile::TempDir,
}

impl Trial {
    async fn start(seed: u64) -> Self {
        let ca = Ca::new();
        let agent = Agent::start(&ca, "us-east").await;
        let services = Vec::from(HOSTNAMES.map(|_| ServiceId::new()));
        let mut instances = Vec::new();
        let mut routes = Routes::default().agent(&agent);
        for (hostname, service) in HOSTNAMES.into_iter().zip(&services) {
            let instance = Instance::start(hostname, agent.node_id).await;
            agent.holds(*service, &instance);
            routes = routes
                .plain_hostname(hostname, *service)
                .service(*service, &[&instance]);
            instances.push(instance);
        }
        let region = FeedName::RegionRoutes("us-east".parse().unwrap(), Ring::All);
        let [global_items, region_items] = routes.items();
        let forge = |feed| Forge::signing(feed, ca.feed_key());
        let global = Source::new(forge(FeedName::GlobalRoutes(Ring::All)), global_items);
        let region = Source::new(forge(region), region_items);
        let feeds = Feeds::new([global, region].map(Mutex::new));
        let sent = feeds.clone();
        let control_plane = ControlPlane::sending(ca, move |feed| {
            let line = sent[place(&feed)].lock().unwrap().connect();
            let line = ReceiverStream::new(line).map(Bytes::from);
            line.map(Ok).boxed()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let token = control_plane.token();
        let edge = Process::start(dir.path(), &control_plane, Some(&token));
        Self {
            users: http1_only(control_plane.ca(), edge.http),
            edge,
            control_plane,
            feeds,
            agent,
            _instances: instances,
            services,
            chance: Chance::new(seed),
            applied: BTreeMap::new(),
            _dir: dir,
        }
    }

    /// Sends some to a feed, and waits until the edge has followed it or has hung up, if it ever does.
    async fn poison(&mut self, at: usize, kind: Kind) {
        let Poison { bytes, set } = self.cook(at, kind);
        let line = self.line(at).await;
        // Who has hung up meanwhile does not get it.
        let _ = line.send(bytes).await;
        let Some(set) = set else {
            return;
        };
        let commit = self.feeds[at].lock().unwrap().forge.commit(&set);
        let give_up = Instant::now() + HEEDED_WITHIN;
        until("poison is heeded", async || {
            line.is_closed() || self.follows(&commit) || Instant::now() > give_up
        })
        .await;
        let is_refused = line.is_closed() && !self.follows(&commit);
        if !is_refused {
            *self.applied.entry(kind).or_default() += 1;
            self.feeds[at].lock().unwrap().forge.publish(&set);
        }
    }

    fn cook(&mut self, at: usize, kind: Kind) -> Poison {
        let feed = self.feeds[at].lock().unwrap();
        Kitchen {
            forge: &feed.forge,
            items: &feed.items,
            services: &self.services,
            node: self.agent.node_id,
            chance: &mut self.chance,
        }
        .cook(kind)
    }

    async fn line(&self, at: usize) -> mpsc::Sender<Vec<u8>> {
        let open = || self.feeds[at].lock().unwrap().line();
        until("the edge is connected", async || open().is_some()).await;
        open().unwrap()
    }

    fn follows(&self, commit: &Commit) -> bool {
        let report = self.control_plane.last_report();
        report.is_some_and(|report| report.feeds.contains(commit))
    }

    /// The right document comes, and is taken. It stands where a forged one did: who took that refuses this.
    async fn recovers(&self, at: usize) {
        let (commit, right, line) = {
            let mut feed = self.feeds[at].lock().unwrap();
            (feed.mend(), feed.right(), feed.line())
        };
        if let Some(line) = line {
            let _ = line.send(right).await;
        }
        until("the right document is taken", async || {
            self.follows(&commit)
        })
        .await;
    }

    async fn begins_to_serve(&self) {
        for hostname in HOSTNAMES {
            until("the edge serves", async || {
                let asked = self.users.get(format!("http://{hostname}/"));
                let answer = asked.send().await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await;
        }
    }

    /// The same process, and every user is served.
    async fn serves(&mut self) {
        assert!(self.edge.child.try_wait().unwrap().is_none(), "it ended");
        for hostname in HOSTNAMES {
            let asked = self.users.get(format!("http://{hostname}/"));
            let answer = asked.send().await.unwrap();
            let status = answer.status();
            assert_eq!(answer.text().await.unwrap(), hostname, "{status}");
        }
    }
}

fn seed() -> u64 {
    let chosen = env::var("RAILHEAD_POISON_SEED").ok();
    chosen.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[tokio::test]
async fn a_process_outlives_poison_of_every_kind_and_serves_all_the_time() {
    let is_full = env::var("RAILHEAD_POISON").is_ok_and(|value| value == "full");
    let count = if is_full { 600 } else { 60 };
    let mut trial = Trial::start(seed()).await;
    trial.begins_to_serve().await;
    for (n, kind) in Kind::ALL.into_iter().cycle().take(count).enumerate() {
        let at = trial.chance.below(2);
        println!("number {n}: {kind:?}");
        trial.poison(at, kind).await;
        trial.serves().await;
        trial.recovers(at).await;
        trial.serves().await;
    }

    // Half of it is signed.
    let taken: usize = trial.applied.values().sum();
    assert!(
        taken * 2 > count / 2,
        "of {count} only these were taken: {:?}",
        trial.applied
    );
    assert_eq!(trial.edge.get("/readyz").await, "ready\n");
    let metrics = trial.edge.get("/metrics").await;
    let interruptions = metrics
        .lines()
        .filter(|line| line.starts_with("railhead_link_feed_interruptions_total"));
    assert!(
        interruptions.clone().count() > 0
            && interruptions.into_iter().all(|line| !line.ends_with(" 0")),
        "{metrics}"
    );
}
