//! An edge's process, its users, and a control plane that sends it poison.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    id::{NodeId, ServiceId},
    ring::Ring,
};
use futures::StreamExt as _;
use protocol::feed::{Commit, FeedName};
use testkit::poison::{Chance, Forge, Kind, Kitchen, Poison, Set, Source};
use tokio::{sync::mpsc, time::sleep};

use crate::support::{Agent, Ca, ControlPlane, Instance, Process, Routes, http1_only, until};

/// Each instance answers with its own.
pub const HOSTNAMES: [&str; 4] = ["app-0.test", "app-1.test", "app-2.test", "app-3.test"];
/// Of the feeds: global routes, and those of the region.
pub const GLOBAL: usize = 0;
pub const REGION: usize = 1;

/// Until an edge has said what it makes of poison. Of endpoints that are dead it says nothing for long: it acknowledges
/// what it has judged.
const HEEDED_WITHIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

type Feeds = Arc<[Mutex<Source>; 2]>;

const fn place(feed: &FeedName) -> usize {
    match feed {
        FeedName::GlobalRoutes(_) => GLOBAL,
        _ => REGION,
    }
}

pub struct Trial {
    pub edge: Process,
    pub chance: Chance,
    pub services: Vec<ServiceId>,
    pub instances: Vec<Instance>,
    /// Of each kind: how many were not refused as a document.
    pub applied: BTreeMap<Kind, usize>,
    /// Until what is right is followed.
    pub patience: Duration,
    /// The process that shall take no harm.
    pid: u32,
    users: reqwest::Client,
    control_plane: ControlPlane,
    feeds: Feeds,
    agent: Agent,
    _dir: tempfile::TempDir,
}

impl Trial {
    /// The edge has joined, and serves.
    pub async fn start(seed: u64) -> Self {
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
                .rules(*service, harmless_rules())
                .service(*service, &[&instance]);
            instances.push(instance);
        }
        let feeds = feeds(&ca, &routes);
        let sent = feeds.clone();
        let control_plane = ControlPlane::sending(ca, move |feed| {
            let line = sent[place(&feed)].lock().unwrap().connect();
            line.map(Bytes::from).map(Ok).boxed()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let token = control_plane.token();
        let edge = Process::start(dir.path(), &control_plane, Some(&token));
        let trial = Self {
            pid: edge.child.id(),
            users: http1_only(control_plane.ca(), edge.http),
            edge,
            control_plane,
            feeds,
            agent,
            instances,
            services,
            chance: Chance::new(seed),
            applied: BTreeMap::new(),
            patience: Duration::from_secs(15),
            _dir: dir,
        };
        trial.begins_to_serve().await;
        trial
    }

    /// Where poison says that instances run. Its agent answers.
    pub const fn node(&self) -> NodeId {
        self.agent.node_id
    }

    pub fn ca(&self) -> &Ca {
        self.control_plane.ca()
    }

    /// What a feed sends next, signed.
    pub fn forge<T>(&self, at: usize, set: impl FnOnce(&Forge) -> T) -> T {
        set(&self.feeds[at].lock().unwrap().forge)
    }

    /// Sends some to a feed, and waits until the edge has followed it or has hung up, if it ever does.
    pub async fn poison(&mut self, at: usize, kind: Kind) {
        let Poison { bytes, set } = self.cook(at, kind);
        let line = self.send(at, bytes).await;
        let Some(set) = set else {
            return;
        };
        let commit = self.forge(at, |forge| forge.commit(&set));
        let heeded = async || line.is_closed() || self.follows(&commit);
        within(HEEDED_WITHIN, heeded).await;
        let is_refused = line.is_closed() && !self.follows(&commit);
        if !is_refused {
            *self.applied.entry(kind).or_default() += 1;
            self.publish(at, &set);
        }
    }

    /// Sends bytes to a feed; where they went.
    pub async fn send(&self, at: usize, bytes: Vec<u8>) -> mpsc::Sender<Vec<u8>> {
        let open = || self.feeds[at].lock().unwrap().line();
        until("the edge is connected", async || open().is_some()).await;
        let line = open().unwrap();
        // Who has hung up meanwhile does not get it.
        let _ = line.send(bytes).await;
        line
    }

    /// From now on a feed stands where this leads to.
    pub fn publish(&self, at: usize, set: &Set) {
        self.feeds[at].lock().unwrap().forge.publish(set);
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

    /// Whether the edge has said that it goes by this.
    pub fn follows(&self, commit: &Commit) -> bool {
        let report = self.control_plane.last_report();
        report.is_some_and(|report| report.feeds.contains(commit))
    }

    /// The right document comes, and is taken; or not. It stands where a forged one did: who took that refuses this.
    pub async fn recovers(&self, at: usize) -> Result<(), String> {
        let (commit, right, line) = {
            let mut feed = self.feeds[at].lock().unwrap();
            (feed.mend(), feed.right(), feed.line())
        };
        if let Some(line) = line {
            let _ = line.send(right).await;
        }
        let is_taken = within(self.patience, async || self.follows(&commit)).await;
        is_taken
            .then_some(())
            .ok_or_else(|| format!("it does not take the right document of {}", commit.feed))
    }

    pub async fn begins_to_serve(&self) {
        for hostname in HOSTNAMES {
            until("the edge serves", async || {
                served(&self.users, hostname).await.is_ok()
            })
            .await;
        }
    }

    /// The same process as ever, and every user is served by it; or what is amiss.
    pub async fn is_unharmed(&mut self) -> Result<(), String> {
        if let Some(status) = self.edge.child.try_wait().unwrap() {
            return Err(format!("it ended: {status}"));
        }
        if self.edge.child.id() != self.pid {
            return Err("another process is in its place".to_owned());
        }
        for hostname in HOSTNAMES {
            served(&self.users, hostname).await?;
        }
        Ok(())
    }
}

/// The instance of this name answers a user.
pub async fn served(users: &reqwest::Client, hostname: &str) -> Result<(), String> {
    let asked = users.get(format!("http://{hostname}/")).send().await;
    let answer = asked.map_err(|error| format!("{hostname}: {error:?}"))?;
    let status = answer.status();
    match answer.text().await {
        Ok(text) if text == hostname => Ok(()),
        answer => Err(format!("{hostname}: {status}, {answer:?}")),
    }
}

/// No user asks for what they are about; whatever replaces a part of them makes no rule.
fn harmless_rules() -> serde_json::Value {
    serde_json::json!([
        { "if": "request.path.matches('^/closed$') || !(request.host != 'closed.test')",
          "then": { "action": "block", "status": 404 } },
        { "if": "cidr('203.0.113.0/24').containsIP(request.ip)", "then": { "action": "maintenance" } },
        { "if": "request.path == '/few'",
          "then": { "action": "rate_limit", "key": "ip", "limit": 10, "window": "1m" } },
    ])
}

fn feeds(ca: &Ca, routes: &Routes) -> Feeds {
    let region = FeedName::RegionRoutes("us-east".parse().unwrap(), Ring::All);
    let [global_items, region_items] = routes.items();
    let forge = |feed| Forge::signing(feed, ca.feed_key());
    let global = Source::new(forge(FeedName::GlobalRoutes(Ring::All)), global_items);
    let region = Source::new(forge(region), region_items);
    Feeds::new([global, region].map(Mutex::new))
}

/// Whether it comes to that in time.
pub async fn within(patience: Duration, mut state: impl AsyncFnMut() -> bool) -> bool {
    let give_up = Instant::now() + patience;
    loop {
        let is_so = state().await;
        if is_so || Instant::now() > give_up {
            return is_so;
        }
        sleep(LOOK).await;
    }
}
