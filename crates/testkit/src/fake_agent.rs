//! An agent without containers: it follows its feed and reports what it is told as done. Unless
//! scripted otherwise each instance runs and is ready at once, and each build succeeds.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    id::{InstanceId, NodeId},
    instance::{Desired, State as InstanceState},
    quantity::{Bytes, MilliCpu},
};
use link::follow::{Entry, Standing, State, Status};
use protocol::{
    feed::FeedName,
    item::{BuildItem, InstanceItem, NodeItem, RunMode},
    join::Role,
    report::{
        AgentReport, BuildReport, BuildResult, BuildState, Capacity, InstanceReport, Kept,
        RoleReport, StoredItem, Usage,
    },
};
use reqwest::Url;
use tokio::sync::watch;

use crate::fake_node::FakeNode;
use link::report::Poke;

type OnInstance = Box<dyn Fn(&InstanceItem, &mut InstanceReport) + Send>;
type OnBuild = Box<dyn Fn(&BuildItem, &mut BuildReport) + Send>;

/// A joined agent; it is gone, without a word, when dropped.
#[derive(Debug)]
pub struct FakeAgent {
    node: FakeNode,
    state: watch::Receiver<Arc<State<NodeItem>>>,
    script: Arc<Mutex<Script>>,
    poke: Poke,
}

struct Script {
    capacity: Capacity,
    on_instance: OnInstance,
    on_build: OnBuild,
    addresses: BTreeMap<InstanceId, SocketAddr>,
    kept: Option<Kept>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            capacity: Capacity {
                cpu: MilliCpu(4_000),
                memory: Bytes::mebibytes(8_192),
            },
            on_instance: Box::new(|_, _| {}),
            on_build: Box::new(|_, _| {}),
            addresses: BTreeMap::new(),
            kept: Some(Kept::default()),
        }
    }
}

impl FakeAgent {
    /// Joins with a token for an agent, follows and reports.
    ///
    /// # Errors
    /// When the control plane refuses.
    pub async fn join(control_plane: Url, token: &str, name: &str) -> anyhow::Result<Self> {
        let mut node = FakeNode::join(control_plane, token, name, Role::Agent).await?;
        let feed = FeedName::Node(node.link.identity().node_id());
        let state = node.follow(feed)?;
        let script = Arc::<Mutex<Script>>::default();
        let (seen, told) = (state.clone(), script.clone());
        let poke = node.report(move || {
            let state = seen.borrow().clone();
            let mut script = told.lock().unwrap_or_else(PoisonError::into_inner);
            RoleReport::Agent(script.report(&state))
        });
        Ok(Self {
            node,
            state,
            script,
            poke,
        })
    }

    /// Its id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node.link.identity().node_id()
    }

    /// How its feed stands.
    #[must_use]
    pub fn feed_status(&self) -> watch::Receiver<Status> {
        let [feed] = self.node.feeds() else {
            unreachable!("an agent follows its own feed and no other");
        };
        feed.watch()
    }

    /// Asks the control plane what a real agent asks: tokens, archives, log lines.
    #[must_use]
    pub fn client(&self) -> &link::client::Client {
        self.node.link.client()
    }

    /// What it is told to run and build.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State<NodeItem>>> {
        self.state.clone()
    }

    /// Changes what is reported of instances, from the next report on (which is sent now).
    pub fn on_instance(
        &self,
        script: impl Fn(&InstanceItem, &mut InstanceReport) + Send + 'static,
    ) {
        self.change(|told| told.on_instance = Box::new(script));
    }

    /// Changes what is reported of builds, from the next report on (which is sent now).
    pub fn on_build(&self, script: impl Fn(&BuildItem, &mut BuildReport) + Send + 'static) {
        self.change(|told| told.on_build = Box::new(script));
    }

    /// Changes what the node offers.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.change(|told| told.capacity = capacity);
    }

    /// Changes what it says that it keeps of services: nothing unless scripted; `None` before it knows.
    pub fn keeps(&self, kept: Option<Kept>) {
        self.change(|told| told.kept = kept);
    }

    fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner));
        self.poke.now();
    }
}

/// As an agent does it: with the bytes that it was once told.
fn report_orphan(entry: &Entry<NodeItem>, report: &mut InstanceReport) {
    if !matches!(entry.standing, Standing::Held | Standing::Orphaned) {
        return;
    }
    report.orphaned = true;
    report.item = entry.rendered().map(|rendered| StoredItem {
        json: rendered.json().to_owned(),
        sha256: hex::encode(rendered.sha256()),
    });
}

impl Script {
    fn report(&mut self, state: &State<NodeItem>) -> AgentReport {
        let mut instances = Vec::new();
        let mut builds = Vec::new();
        for entry in state.items.values() {
            match &entry.item {
                NodeItem::Instance(item) => {
                    let mut report = self.instance(item);
                    report_orphan(entry, &mut report);
                    instances.push(report);
                }
                NodeItem::Build(item) => builds.push(self.build(item)),
                NodeItem::Denied(_) => {}
            }
        }
        AgentReport {
            capacity: self.capacity,
            usage: Usage::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 7_444)),
            instances,
            builds,
            kept: self.kept.clone(),
        }
    }

    fn instance(&mut self, item: &InstanceItem) -> InstanceReport {
        let runs_on = matches!(item.run, RunMode::Service { .. });
        let runs = item.desired == Desired::Run && runs_on;
        let mut report = InstanceReport {
            id: item.id,
            release_id: item.release_id,
            service_id: item.service_id,
            state: if runs {
                InstanceState::Running
            } else {
                InstanceState::Stopped
            },
            ready: runs,
            restarts: 0,
            address: item.port.filter(|_| runs).map(|_| self.address(item.id)),
            image_digest: item
                .image
                .split_once('@')
                .map(|(_, digest)| digest.to_owned()),
            exit_code: (!runs).then_some(0),
            problem: None,
            usage: Usage::default(),
            orphaned: false,
            item: None,
        };
        (self.on_instance)(item, &mut report);
        report
    }

    /// Stays the same for an instance and is never used twice.
    fn address(&mut self, id: InstanceId) -> SocketAddr {
        let next = 20_000 + u16::try_from(self.addresses.len()).unwrap_or(u16::MAX - 20_000);
        *self
            .addresses
            .entry(id)
            .or_insert(SocketAddr::from(([127, 0, 0, 1], next)))
    }

    fn build(&self, item: &BuildItem) -> BuildReport {
        let result = BuildResult {
            digest: format!("sha256:{}", hex::encode([7; 32])),
            size: Bytes::mebibytes(10),
            commit: None,
            source_digest: None,
        };
        let mut report = BuildReport {
            id: item.id,
            state: BuildState::Succeeded(result),
            started_at: None,
        };
        (self.on_build)(item, &mut report);
        report
    }
}
