//! The receiving end: an agent's and an edge's real ledgers on a real disk, and what they do by them.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use agent::{
    desired::Desired,
    reconcile::{Action, Clock, Roster, decide as decide_containers},
    runtime::{Container, Labels, Phase},
};
use chrono::Utc;
use domain::{id::InstanceId, ring::Ring, spec::is_probe_path};
use edge_proxy::{
    decide::{ConnInfo, Decision, RequestHead, decide},
    feeds::{Applier, Feeds},
    metrics::Metrics,
    state::State as EdgeState,
    tls::Tickets,
    upstream::memory::Memory,
};
use link::{
    follow::{Error, Ledger, Received, Standing},
    identity::DenyList,
    node_key::NodeKey,
};
use protocol::{
    feed::{Commit, FeedName, signature::FeedKeys},
    item::{GlobalRouteItem, Item, NodeItem, RegionRouteItem},
};
use tempfile::TempDir;

use super::{Feed, good::Good};

/// One node that is agent and edge.
pub struct Victim {
    dir: TempDir,
    keys: FeedKeys,
    names: [FeedName; 3],
    node: Ledger<NodeItem>,
    global: Ledger<GlobalRouteItem>,
    region: Ledger<RegionRouteItem>,
    roster: Roster,
    containers: Vec<Container>,
    edge: Arc<EdgeState>,
    applier: Applier,
}

/// Names of a node's feeds, in the order of [`Feed`].
pub fn names(good: &Good) -> [FeedName; 3] {
    let region = "us-east".parse().unwrap();
    [
        FeedName::Node(good.node),
        FeedName::GlobalRoutes(Ring::All),
        FeedName::RegionRoutes(region, Ring::All),
    ]
}

impl Victim {
    /// With an empty disk; its containers run already.
    pub fn new(good: &Good, keys: FeedKeys) -> Self {
        let dir = folder();
        let names = names(good);
        let node = load(dir.path(), &names[0], &keys);
        let global = load(dir.path(), &names[1], &keys);
        let region = load(dir.path(), &names[2], &keys);
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let place = "us-east".parse().unwrap();
        let (edge, _discoveries) = EdgeState::new(good.node, place, Arc::new(metrics));
        let feeds = Feeds {
            global: global.state(),
            region: region.state(),
        };
        let tickets = Tickets::new().unwrap();
        let applier = Applier::start(Arc::clone(&edge), feeds, tickets, &Memory::new(dir.path()));
        let containers = good.instances.iter().map(|item| Container {
            labels: Labels::from(item),
            phase: Phase::Running { since: Utc::now() },
            image_digest: None,
            ip: Some([10, 200, 0, 1].into()),
            host_port: Some(20_000),
            published: None,
        });
        Self {
            containers: containers.collect(),
            dir,
            keys,
            names,
            node,
            global,
            region,
            roster: Roster::remembered(&BTreeMap::new(), Clock::read()),
            edge,
            applier,
        }
    }

    /// A new connection brings these bytes, in pieces, and breaks off at the first refusal.
    pub fn receive(&mut self, feed: Feed, bytes: &[u8]) -> Result<Received, Error> {
        self.connected(feed);
        let mut received = Received::default();
        for piece in bytes.chunks(256 << 10) {
            received = self.receive_piece(feed, piece)?;
        }
        Ok(received)
    }

    pub fn connected(&mut self, feed: Feed) {
        let keys = self.keys.clone();
        match feed {
            Feed::Node => self.node.connected(keys),
            Feed::Global => self.global.connected(keys),
            Feed::Region => self.region.connected(keys),
        }
    }

    pub fn receive_piece(&mut self, feed: Feed, piece: &[u8]) -> Result<Received, Error> {
        match feed {
            Feed::Node => self.node.receive(piece),
            Feed::Global => self.global.receive(piece),
            Feed::Region => self.region.receive(piece),
        }
    }

    pub fn applied(&self, feed: Feed) -> Option<Commit> {
        match feed {
            Feed::Node => self.node.applied().cloned(),
            Feed::Global => self.global.applied().cloned(),
            Feed::Region => self.region.applied().cloned(),
        }
    }

    /// Ids of what it works by, and how each stands.
    pub fn items(&self, feed: Feed) -> Vec<(String, Standing)> {
        match feed {
            Feed::Node => standings(&self.node),
            Feed::Global => standings(&self.global),
            Feed::Region => standings(&self.region),
        }
    }

    /// As after an operator's override.
    pub fn release(&mut self, feed: Feed) {
        let position = self.applied(feed).map(|commit| commit.position());
        let position = position.unwrap_or_default();
        match feed {
            Feed::Node => self.node.release(position).unwrap(),
            Feed::Global => self.global.release(position).unwrap(),
            Feed::Region => self.region.release(position).unwrap(),
        }
    }

    /// What the disk has, read as at a start.
    pub fn on_disk(&self, feed: Feed) -> Option<Commit> {
        let (dir, name) = (self.dir.path(), &self.names[feed as usize]);
        match feed {
            Feed::Node => load::<NodeItem>(dir, name, &self.keys).applied().cloned(),
            Feed::Global => load::<GlobalRouteItem>(dir, name, &self.keys)
                .applied()
                .cloned(),
            Feed::Region => load::<RegionRouteItem>(dir, name, &self.keys)
                .applied()
                .cloned(),
        }
    }

    /// The agent and the edge go by what they have now. Answers what is done to containers.
    pub fn act(&mut self) -> Vec<Action> {
        let state = Arc::clone(&self.node.state().borrow());
        if let Some(desired) = Desired::from_state(&state, true) {
            self.roster.want(&desired);
        }
        let clock = Clock::read();
        self.roster.observe(self.containers.clone(), clock);
        self.applier.apply();
        decide_containers(&self.roster.view(clock))
    }

    /// Agents have confirmed the endpoints that run, and these answer probes.
    pub fn confirm(&self, good: &Good) {
        for (_, endpoint) in self.edge.routes.load().watched(|_| true) {
            let runs = good.is_good(&endpoint.spec);
            endpoint.confirm(runs);
            if runs {
                endpoint.probe_succeeded(endpoint.verdict());
            }
        }
    }

    /// Whether a container that shall run is about to be ended.
    pub fn is_ended(good: &Good, action: Action) -> bool {
        let ends = |id: InstanceId| good.instances.iter().any(|item| item.id == id);
        let is_end = !matches!(action, Action::Create(_) | Action::Start(_));
        is_end && ends(action.instance())
    }

    /// A request for each service finds one of its instances, or why not.
    pub fn serves(&self, good: &Good) -> Result<(), String> {
        let table = self.edge.routes.load();
        for service in &good.services {
            let head = RequestHead {
                authority: Some(&service.hostname),
                path_and_query: "/",
                content_length: None,
                hops: 0,
            };
            let plain = ConnInfo {
                peer: [127, 0, 0, 1].into(),
                tls: None,
                via: None,
            };
            let decision = decide(&head, &plain, &table);
            let Decision::Serve(route) = decision else {
                return Err(format!("{} gets {decision:?}", service.hostname));
            };
            let pool = table.service(route.service_id);
            let asked = pool.and_then(|pool| pool.health_path.as_deref());
            if let Some(path) = asked.filter(|path| !is_probe_path(path)) {
                return Err(format!(
                    "{}'s health is asked at {path:?}",
                    service.hostname
                ));
            }
            let chosen = pool.and_then(|pool| pool.choose(&[], Instant::now()));
            let Some(chosen) = chosen else {
                return Err(format!("{} has no instance", service.hostname));
            };
            if !service.endpoints.contains(&chosen.spec) {
                return Err(format!("{} is sent to {:?}", service.hostname, chosen.spec));
            }
        }
        Ok(())
    }
}

/// In memory where that can be: each commit waits until it is stored.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.unwrap()
}

fn load<T: Item>(dir: &Path, feed: &FeedName, keys: &FeedKeys) -> Ledger<T> {
    let node_key = NodeKey::ensure(&dir.join("node.key")).unwrap();
    let (status, denied) = (Arc::default(), DenyList::default());
    Ledger::load(feed.clone(), dir, node_key, keys.clone(), status, denied).unwrap()
}

fn standings<T: Item>(ledger: &Ledger<T>) -> Vec<(String, Standing)> {
    let state = Arc::clone(&ledger.state().borrow());
    let items = state.items.iter();
    items
        .map(|(id, entry)| (id.to_string(), entry.standing))
        .collect()
}
