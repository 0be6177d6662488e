//! What all parts of the edge share: the current routes and certificates (swapped whole, read
//! without a lock), counters, and wake-ups for background work.

use std::sync::Arc;

use arc_swap::ArcSwap;
use domain::{
    id::{NodeId, ServiceId},
    name::Name,
};
use tokio::sync::{Notify, mpsc};

use crate::{
    geo::Geo, limit::Limits, metrics::Metrics, route::RouteTable, tls::CertificateStore,
    upstream::counters::Counters,
};

/// Services whose endpoints are all dead and that wait for an agent's word; more are dropped,
/// because the next request asks again.
const DISCOVERIES: usize = 256;

/// The edge's state.
#[derive(Debug)]
pub struct State {
    /// This edge.
    pub node_id: NodeId,
    /// Where it stands.
    pub region: Name,
    /// The routes.
    pub routes: ArcSwap<RouteTable>,
    /// The certificates.
    pub certificates: ArcSwap<CertificateStore>,
    /// What rate limits have counted.
    pub limits: Limits,
    /// Where addresses are.
    pub geo: Geo,
    /// For Prometheus.
    pub metrics: Arc<Metrics>,
    /// For the report.
    pub counters: Counters,
    /// Endpoints changed: probe now.
    pub probe_wanted: Notify,
    /// Endpoints changed: ask agents now.
    pub confirm_wanted: Notify,
    /// Endpoints changed: keep now what can be used.
    pub keep_wanted: Notify,
    discoveries: mpsc::Sender<ServiceId>,
}

impl State {
    /// An edge without routes, and the services that requests find without a living endpoint.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        region: Name,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, mpsc::Receiver<ServiceId>) {
        let (discoveries, wanted) = mpsc::channel(DISCOVERIES);
        let state = Arc::new(Self {
            node_id,
            region,
            routes: ArcSwap::default(),
            certificates: ArcSwap::default(),
            limits: Limits::default(),
            geo: Geo::default(),
            metrics,
            counters: Counters::default(),
            probe_wanted: Notify::new(),
            confirm_wanted: Notify::new(),
            keep_wanted: Notify::new(),
            discoveries,
        });
        (state, wanted)
    }

    /// A request found no living endpoint of this service here.
    pub fn discover(&self, service: ServiceId) {
        // Full: others wait already, and the next request asks again.
        let _ = self.discoveries.try_send(service);
    }

    /// There are other endpoints, or another verdict on one: all who work on them look now.
    pub fn endpoints_changed(&self) {
        self.keep_wanted.notify_one();
        self.confirm_wanted.notify_one();
        self.probe_wanted.notify_one();
    }
}
