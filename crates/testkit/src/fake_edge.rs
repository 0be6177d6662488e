//! An edge without traffic: it follows the routes of its region and acknowledges them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use domain::id::{DeploymentId, NodeId};
use link::{follow::State, report::Poke};
use protocol::{
    feed::FeedName,
    item::{GlobalRouteItem, RegionRouteItem},
    join::Role,
    report::{EdgeReport, RequestCounts, RoleReport},
};
use reqwest::Url;
use tokio::sync::watch;

use crate::fake_node::FakeNode;

/// A joined edge; it is gone, without a word, when dropped.
#[derive(Debug)]
pub struct FakeEdge {
    node: FakeNode,
    global: watch::Receiver<Arc<State<GlobalRouteItem>>>,
    region: watch::Receiver<Arc<State<RegionRouteItem>>>,
    counts: Arc<Mutex<BTreeMap<DeploymentId, RequestCounts>>>,
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
        let global = node.follow(FeedName::GlobalRoutes)?;
        let region = node.follow(FeedName::RegionRoutes(region))?;
        let counts = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let counted = counts.clone();
        let poke = node.report(move || {
            RoleReport::Edge(EdgeReport {
                forward_address: SocketAddr::from(([127, 0, 0, 1], 7_443)),
                public_address: SocketAddr::from(([127, 0, 0, 1], 443)),
                deployments: counted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
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
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(deployment, counts);
        self.poke.now();
    }
}
