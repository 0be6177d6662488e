//! An edge without traffic: it follows the routes of its region and acknowledges them.

use domain::ring::Ring;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::id::{DeploymentId, NodeId};
use link::{follow::State, report::Poke};
use protocol::{
    feed::FeedName,
    item::{GlobalRouteItem, RegionRouteItem},
    join::Role,
    report::{EdgeReport, RequestCounts, RoleReport, Traffic},
};
use reqwest::Url;
use tokio::sync::watch;

use crate::fake_node::FakeNode;

/// What it says to have served.
#[derive(Debug, Clone, Default)]
struct Counts {
    deployments: BTreeMap<DeploymentId, RequestCounts>,
    traffic: Traffic,
}

/// A joined edge; it is gone, without a word, when dropped.
#[derive(Debug)]
pub struct FakeEdge {
    node: FakeNode,
    global: watch::Receiver<Arc<State<GlobalRouteItem>>>,
    region: watch::Receiver<Arc<State<RegionRouteItem>>>,
    counts: Arc<Mutex<Counts>>,
    poke: Poke,
}

impl FakeEdge {
    /// Joins with a token for an edge, follows and reports.
    ///
    /// # Errors
    /// When the control plane refuses.
    pub async fn join(control_plane: Url, token: &str, name: &str) -> anyhow::Result<Self> {
        let mut node = FakeNode::join(control_plane, token, name, Role::Edge).await?;
        let region = node.link.identity().region();
        let global = node.follow(FeedName::GlobalRoutes(Ring::All))?;
        let region = node.follow(FeedName::RegionRoutes(region, Ring::All))?;
        let counts = Arc::<Mutex<Counts>>::default();
        let counted = counts.clone();
        let poke = node.report(move || {
            let counts = lock(&counted).clone();
            RoleReport::Edge(EdgeReport {
                forward_address: SocketAddr::from(([127, 0, 0, 1], 7_443)),
                public_address: SocketAddr::from(([127, 0, 0, 1], 443)),
                deployments: counts.deployments,
                traffic: counts.traffic,
            })
        });
        Ok(Self {
            node,
            global,
            region,
            counts,
            poke,
        })
    }

    /// Its id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node.link.identity().node_id()
    }

    /// Hostnames, certificates and edges that it knows.
    #[must_use]
    pub fn global_routes(&self) -> watch::Receiver<Arc<State<GlobalRouteItem>>> {
        self.global.clone()
    }

    /// Endpoints of its region that it knows.
    #[must_use]
    pub fn region_routes(&self) -> watch::Receiver<Arc<State<RegionRouteItem>>> {
        self.region.clone()
    }

    /// What it says to have served, from the next report on (which is sent now).
    pub fn set_requests(&self, deployment: DeploymentId, counts: RequestCounts) {
        lock(&self.counts).deployments.insert(deployment, counts);
        self.poke.now();
    }

    /// How it says to fare, from the next report on (which is sent now).
    pub fn set_traffic(&self, traffic: Traffic) {
        lock(&self.counts).traffic = traffic;
        self.poke.now();
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
