//! An edge: two feeds on disk, the real route table, confirmations by agents, probes, and an
//! acknowledgement that comes when all of that is done.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use control_plane::feed::route::service_item_id;
use domain::{
    id::{InstanceId, NodeId, ServiceId},
    name::Name,
    ring::Ring,
};
use edge_proxy::{
    decide::{ConnInfo, Decision, RequestHead, TlsInfo, decide},
    feeds::{Good, SETTLE, good_items},
    route::RouteTable,
    traffic::Traffic,
    upstream::{
        counters::Counters,
        endpoint::{Confirmed, Endpoint},
        pool::ServicePool,
    },
};
use link::follow::{Standing, State};
use protocol::{
    feed::{Commit, FeedName, signature::FeedKeys},
    item::{self, GlobalRouteItem, RegionRouteItem},
    report::{self, EdgeReport, RoleReport},
};

use crate::{
    clock::{self, Millis},
    feeds,
    follow::{Disk, Followed},
    rendering,
};

/// A machine with an edge.
#[derive(Debug)]
pub struct EdgeNode {
    pub id: NodeId,
    pub index: usize,
    pub region: Name,
    pub ring: Ring,
    pub address: SocketAddr,
    pub global_disk: Disk,
    pub region_disk: Disk,
    /// What agents have confirmed; on the disk, too.
    pub confirmed: BTreeSet<(InstanceId, SocketAddr)>,
    pub edge: Option<Edge>,
    boots: u64,
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    pub boot: u64,
    pub sequence: u64,
    pub global: Followed<GlobalRouteItem>,
    pub routes: Followed<RegionRouteItem>,
    pub table: Arc<RouteTable>,
    counters: Counters,
    pub traffic: Traffic,
    /// What it can use of the newest routes, or could of older ones.
    good: Good<GlobalRouteItem>,
    /// The commits that the table is made from.
    newest: (Option<Commit>, Option<Commit>),
    /// The commits that are acknowledged.
    pub acknowledged: (Option<Commit>, Option<Commit>),
    /// The newest table waits for its endpoints to be judged.
    settling: bool,
    /// When it will look at its endpoints again.
    pub look: Option<Millis>,
}

impl EdgeNode {
    /// A machine that has never run an edge.
    #[must_use]
    pub fn new(id: NodeId, index: usize, region: Name, ring: Ring) -> Self {
        let low = u8::try_from(index).unwrap_or_default();
        Self {
            id,
            index,
            region,
            ring,
            address: SocketAddr::from(([10, 2, 0, low], 7443)),
            global_disk: Disk::default(),
            region_disk: Disk::default(),
            confirmed: BTreeSet::new(),
            edge: None,
            boots: 0,
        }
    }

    /// Starts the edge from its disk.
    pub fn start(&mut self, keys: &FeedKeys, now: Millis) {
        self.boots += 1;
        let mut edge = Edge {
            boot: self.boots,
            sequence: 0,
            global: Followed::load(
                FeedName::GlobalRoutes(self.ring),
                &self.global_disk,
                keys.clone(),
            ),
            routes: Followed::load(
                feeds::of_region(&self.region, self.ring),
                &self.region_disk,
                keys.clone(),
            ),
            table: Arc::default(),
            counters: Counters::default(),
            traffic: Traffic::default(),
            good: Good::new(),
            newest: (None, None),
            acknowledged: (None, None),
            settling: false,
            look: None,
        };
        edge.apply(now);
        for (_, endpoint) in edge.endpoints() {
            if self.confirmed.contains(&key(&endpoint)) {
                endpoint.remember();
            }
        }
        self.edge = Some(edge);
    }

    /// What agents have confirmed is kept across a restart (`edge_proxy::upstream::confirm`).
    pub fn keep_confirmed(&mut self) {
        if let Some(edge) = &self.edge {
            let endpoints = edge.endpoints();
            let endpoints = endpoints.iter().map(|(_, endpoint)| endpoint);
            let confirmed = endpoints.filter(|endpoint| endpoint.confirmed() == Confirmed::Yes);
            self.confirmed = confirmed.map(|endpoint| key(endpoint)).collect();
        }
    }
}

impl Edge {
    /// Compiles the newest states and swaps them in.
    pub fn apply(&mut self, now: Millis) {
        let (global, region) = (self.global.state(), self.routes.state());
        let (good, refused) = good_items(&global, &self.good);
        self.traffic.set_items_refused(refused.len());
        self.good = good;
        let global_items: Vec<_> = self.good.values().map(|entry| &entry.item).collect();
        let region_items: Vec<&RegionRouteItem> = items(&region);
        self.table = Arc::new(RouteTable::build_at(
            &global_items,
            &region_items,
            &self.table,
            &self.counters,
            clock::instant(now),
        ));
        self.newest = (global.commit.clone(), region.commit.clone());
        self.settling = true;
    }

    /// Where the feed leads to, in an order of its own.
    #[must_use]
    pub fn routed(&self) -> Vec<item::Endpoint> {
        let pools = self.table.services();
        let endpoints = pools.flat_map(|pool| pool.endpoints());
        let mut all: Vec<_> = endpoints.map(|endpoint| endpoint.spec).collect();
        all.sort_unstable_by_key(|spec| spec.instance_id);
        all
    }

    /// Endpoints in an order of their own, with their pools.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(Arc<ServicePool>, Arc<Endpoint>)> {
        let mut all = self.table.watched(|_| true);
        all.sort_unstable_by_key(|(_, endpoint)| endpoint.spec.instance_id);
        all
    }

    /// Whether the feed's newest routes lead to an instance.
    #[must_use]
    pub fn routes_to(&self, service: ServiceId, instance: InstanceId) -> bool {
        let pool = self.table.service(service);
        let leads = |pool: &&Arc<ServicePool>| {
            let mut endpoints = pool.endpoints().iter();
            endpoints.any(|endpoint| endpoint.spec.instance_id == instance)
        };
        pool.filter(leads).is_some()
    }

    /// Whether it has a service's route although the newest document lacks it (brake, epoch).
    #[must_use]
    pub fn keeps_route_of(&self, service: ServiceId) -> bool {
        let state = self.routes.state();
        let entry = state.items.get(service_item_id(service).as_str());
        entry.is_some_and(|entry| entry.standing != Standing::Current)
    }

    /// Whether it has a document of each feed; whole documents come one after the other.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.global.state().commit.is_some() && self.routes.state().commit.is_some()
    }

    /// The oldest and the newest version that items of its newest routes are rendered in.
    #[must_use]
    pub fn versions(&self) -> Option<(i32, i32)> {
        self.versions_without(|_| false)
    }

    /// Likewise, but for these items of its region.
    #[must_use]
    pub fn versions_without(
        &self,
        is_left_out: impl Fn(&RegionRouteItem) -> bool,
    ) -> Option<(i32, i32)> {
        let (global, region) = (self.global.state(), self.routes.state());
        let global = current(&global).filter_map(rendering::version_of_global);
        let region = current(&region).filter(|item| !is_left_out(item));
        let region = region.filter_map(rendering::version_of_region);
        global.chain(region).fold(None, |range, version| {
            let (oldest, newest) = range.unwrap_or((version, version));
            Some((version.min(oldest), version.max(newest)))
        })
    }

    /// Once every endpoint was judged: the commits to acknowledge, if they are new.
    pub fn settle(&mut self, now: Millis) -> bool {
        let instant = clock::instant(now);
        let settled = || {
            self.table
                .services()
                .all(|pool| pool.is_settled(SETTLE, instant))
        };
        if !self.settling || !settled() {
            return false;
        }
        self.settling = false;
        let is_new = self.acknowledged != self.newest;
        self.acknowledged = self.newest.clone();
        is_new
    }

    /// How requests fared since its start, and what it can't use.
    fn fares(&self) -> report::Traffic {
        self.traffic
            .snapshot(self.global.unread() + self.routes.unread())
    }

    /// Whether a table waits to be acknowledged.
    #[must_use]
    pub const fn is_settling(&self) -> bool {
        self.settling
    }

    /// What the real edge decides about a request for a host.
    #[must_use]
    pub fn decide(&self, host: &str) -> Decision {
        let head = RequestHead {
            authority: Some(host),
            path_and_query: "/",
            content_length: None,
            hops: 0,
        };
        let connection = ConnInfo {
            peer: [127, 0, 0, 1].into(),
            tls: Some(TlsInfo {
                server_name: host.into(),
                names: Arc::from([host.to_owned()]),
                version: "TLSv1_3",
            }),
            via: None,
        };
        decide(&head, &connection, &self.table)
    }

    /// Every endpoint that the real choice may fall on before the ones of the next tier, sorted.
    #[must_use]
    pub fn choices(
        &self,
        service: ServiceId,
        tried: &[InstanceId],
        now: Millis,
    ) -> Vec<Arc<Endpoint>> {
        let Some(pool) = self.table.service(service) else {
            return Vec::new();
        };
        let in_feed =
            |endpoint: &Endpoint| pool.endpoints().iter().any(|e| e.spec == endpoint.spec);
        let (mut tried, mut all) = (tried.to_vec(), Vec::new());
        while let Some(endpoint) = pool.choose(&tried, clock::instant(now)) {
            let first_tier = all
                .first()
                .is_none_or(|first: &Arc<Endpoint>| in_feed(first) == in_feed(&endpoint));
            if !first_tier {
                break;
            }
            tried.push(endpoint.spec.instance_id);
            all.push(endpoint);
        }
        all.sort_unstable_by_key(|endpoint| endpoint.spec.instance_id);
        all
    }
}

/// What an edge's report says beside its feeds.
#[must_use]
pub fn role_report(node: &EdgeNode) -> RoleReport {
    RoleReport::Edge(EdgeReport {
        forward_address: node.address,
        public_address: node.address,
        deployments: std::collections::BTreeMap::new(),
        traffic: node.edge.as_ref().map(Edge::fares).unwrap_or_default(),
    })
}

fn key(endpoint: &Endpoint) -> (InstanceId, SocketAddr) {
    (endpoint.spec.instance_id, endpoint.spec.address)
}

/// What is in the newest document, and could be read.
fn current<T>(state: &State<T>) -> impl Iterator<Item = &T> {
    let entries = state.items.values();
    let current = entries.filter(|entry| entry.standing == Standing::Current);
    current.map(|entry| &entry.item)
}

fn items<T>(state: &State<T>) -> Vec<&T> {
    state.items.values().map(|entry| &entry.item).collect()
}
