//! An edge in this process, with feeds that the test writes.

use domain::ring::Ring;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use domain::{
    generation::{Epoch, Generation},
    id::{DeploymentId, ServiceId},
    spec::Timeouts,
};
use edge_proxy::{
    feeds::Feeds,
    run::{self, Parts, Ports, Running},
    upstream::memory::Memory,
};
use link::{follow::State, identity::Identity, writing::Writing};
use protocol::{
    feed::{Commit, FeedName, SecretFrame},
    item::{
        ChallengeItem, EdgeItem, GlobalRouteItem, HostnameItem, RegionRouteItem, RoutePolicy,
        RulesItem, ServiceItem, ServicePolicy, Split,
    },
    join::Role,
};
use proxy_protocol::TrustedProxies;
use testkit::{poison::Items, publisher::Change};
use tokio::{net::TcpListener, sync::watch};

use super::{Agent, Ca, Instance, until};

/// Speaks for others, of all addresses of this machine.
pub const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99));

/// Of each test edge.
pub const CONNECTIONS_PER_ADDRESS: usize = 300;

/// What both feeds say.
#[derive(Clone, Default)]
pub struct Routes {
    pub global: Vec<GlobalRouteItem>,
    pub region: Vec<RegionRouteItem>,
    pub secrets: Vec<SecretFrame>,
    /// Of the region's feed.
    pub generation: i64,
}

impl Routes {
    pub fn certificate(mut self, ca: &Ca, names: &[&str]) -> Self {
        let (item, secret) = ca.host(names);
        self.global.push(item);
        self.secrets.push(secret);
        self
    }

    pub fn hostname(self, hostname: &str, service_id: ServiceId, regions: &[&str]) -> Self {
        self.hostname_with(HostnameItem {
            hostname: hostname.into(),
            service_id,
            regions: regions.iter().map(|r| r.parse().unwrap()).collect(),
            https_redirect: true,
            timeouts: Timeouts::default(),
            max_body: None,
            path: None,
            policy: RoutePolicy::default(),
        })
    }

    /// Served over HTTP, too.
    pub fn plain_hostname(self, hostname: &str, service_id: ServiceId) -> Self {
        self.hostname_with(HostnameItem {
            hostname: hostname.into(),
            service_id,
            regions: vec!["us-east".parse().unwrap()],
            https_redirect: false,
            timeouts: Timeouts::default(),
            max_body: None,
            path: None,
            policy: RoutePolicy::default(),
        })
    }

    /// With what the service has set.
    pub fn hostname_by(self, hostname: &str, service_id: ServiceId, policy: RoutePolicy) -> Self {
        self.hostname_with(HostnameItem {
            hostname: hostname.into(),
            service_id,
            regions: vec!["us-east".parse().unwrap()],
            https_redirect: true,
            timeouts: Timeouts::default(),
            max_body: None,
            path: None,
            policy,
        })
    }

    /// Of its paths, this one and those below.
    pub fn path(self, hostname: &str, path: &str, service_id: ServiceId) -> Self {
        self.hostname_with(HostnameItem {
            hostname: hostname.into(),
            service_id,
            regions: vec!["us-east".parse().unwrap()],
            https_redirect: true,
            timeouts: Timeouts::default(),
            max_body: None,
            path: Some(path.into()),
            policy: RoutePolicy::default(),
        })
    }

    pub fn hostname_with(mut self, item: HostnameItem) -> Self {
        self.global.push(GlobalRouteItem::Hostname(item));
        self
    }

    pub fn challenge(mut self, hostname: &str, token: &str, key_authorization: &str) -> Self {
        self.global.push(GlobalRouteItem::Challenge(ChallengeItem {
            hostname: hostname.into(),
            token: token.into(),
            key_authorization: key_authorization.into(),
        }));
        self
    }

    /// The edge rules of a service, as in `railhead.toml`.
    pub fn rules(mut self, service_id: ServiceId, rules: serde_json::Value) -> Self {
        self.global.push(GlobalRouteItem::Rules(RulesItem {
            service_id,
            rules: serde_json::from_value(rules).unwrap(),
        }));
        self
    }

    pub fn edge(self, edge: &TestEdge) -> Self {
        self.edge_item(edge.item())
    }

    pub fn edge_item(mut self, edge: EdgeItem) -> Self {
        self.global.push(GlobalRouteItem::Edge(edge));
        self
    }

    pub fn agent(mut self, agent: &Agent) -> Self {
        self.region.push(agent.item());
        self
    }

    pub fn service(self, service_id: ServiceId, instances: &[&Instance]) -> Self {
        self.deployed(service_id, DeploymentId::new(), instances, None)
    }

    /// With what the service has set.
    pub fn service_by(
        mut self,
        service_id: ServiceId,
        instances: &[&Instance],
        policy: ServicePolicy,
    ) -> Self {
        self = self.service(service_id, instances);
        if let Some(RegionRouteItem::Service(item)) = self.region.last_mut() {
            item.policy = policy;
        }
        self
    }

    /// A deployment beside the one of the newest service.
    pub fn beside(mut self, split: Split) -> Self {
        if let Some(RegionRouteItem::Service(item)) = self.region.last_mut() {
            item.splits.push(split);
        }
        self
    }

    pub fn deployed(
        mut self,
        service_id: ServiceId,
        deployment_id: DeploymentId,
        instances: &[&Instance],
        health_path: Option<&str>,
    ) -> Self {
        self.region.push(RegionRouteItem::Service(ServiceItem {
            service_id,
            deployment_id,
            endpoints: instances.iter().map(|i| i.spec).collect(),
            health_path: health_path.map(str::to_owned),
            traceparent: None,
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        }));
        self
    }

    /// Each feed as one change.
    pub fn changes(&self) -> [Change; 2] {
        let put_global =
            |change: Change, item: &GlobalRouteItem| change.put(&global_id(item), item);
        let put_region =
            |change: Change, item: &RegionRouteItem| change.put(&region_id(item), item);
        [
            self.global.iter().fold(Change::default(), put_global),
            self.region.iter().fold(Change::default(), put_region),
        ]
    }

    /// Each feed's items by id.
    pub fn items(&self) -> [Items; 2] {
        let global =
            |item: &GlobalRouteItem| (global_id(item), serde_json::to_value(item).unwrap());
        let region =
            |item: &RegionRouteItem| (region_id(item), serde_json::to_value(item).unwrap());
        [
            self.global.iter().map(global).collect(),
            self.region.iter().map(region).collect(),
        ]
    }

    /// The certificates' keys.
    pub fn keys(&self) -> Change {
        let add = |change: Change, secret: &SecretFrame| {
            change.secret(&secret.key, secret.version, &secret.value)
        };
        self.secrets.iter().fold(Change::default(), add)
    }

    fn global_state(&self) -> Arc<State<GlobalRouteItem>> {
        let items = self.global.iter();
        let items = items.map(|item| (global_id(item), item.clone()));
        Arc::new(State::new(items, self.secrets.clone()))
    }

    fn region_state(&self) -> Arc<State<RegionRouteItem>> {
        let items = self.region.iter();
        let items = items.map(|item| (region_id(item), item.clone()));
        let mut state = State::new(items, []);
        state.commit = Some(Commit {
            feed: FeedName::RegionRoutes("us-east".parse().unwrap(), Ring::All),
            epoch: Epoch(1),
            generation: Generation(self.generation),
            digest: String::new(),
            count: 0,
            signature: String::new(),
        });
        Arc::new(state)
    }
}

fn global_id(item: &GlobalRouteItem) -> String {
    match item {
        GlobalRouteItem::Hostname(h) => h.id(),
        GlobalRouteItem::Rules(r) => r.item_id(),
        GlobalRouteItem::Certificate(c) => c.item_id(),
        GlobalRouteItem::Edge(e) => format!("edge/{}", e.node_id),
        GlobalRouteItem::Denied(d) => format!("denied/{}", d.node_id),
        GlobalRouteItem::Challenge(c) => format!("challenge/{}", c.hostname),
    }
}

fn region_id(item: &RegionRouteItem) -> String {
    match item {
        RegionRouteItem::Service(s) => format!("service/{}", s.service_id),
        RegionRouteItem::Agent(a) => format!("agent/{}", a.node_id),
    }
}

/// What only some edges have.
#[derive(Clone, Default)]
pub struct Extras {
    /// Where rate limits are counted together.
    pub redis: Option<String>,
    /// Databases of places.
    pub databases: Vec<PathBuf>,
}

pub struct TestEdge {
    pub identity: Identity,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub forward: SocketAddr,
    pub running: Running,
    pub access_log: std::path::PathBuf,
    global: watch::Sender<Arc<State<GlobalRouteItem>>>,
    region: watch::Sender<Arc<State<RegionRouteItem>>>,
    dir: Arc<tempfile::TempDir>,
}

impl TestEdge {
    pub async fn start(ca: &Ca, region: &str, routes: &Routes) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(ca.node(region, Role::Edge), routes, dir).await
    }

    pub async fn start_in(
        identity: Identity,
        routes: &Routes,
        dir: Arc<tempfile::TempDir>,
    ) -> Self {
        Self::start_with(identity, routes, dir, Extras::default()).await
    }

    pub async fn start_with(
        identity: Identity,
        routes: &Routes,
        dir: Arc<tempfile::TempDir>,
        extras: Extras,
    ) -> Self {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = Ports {
            http: listen().await,
            https: listen().await,
            forward: listen().await,
        };
        let [http, https, forward] =
            [&ports.http, &ports.https, &ports.forward].map(|l| l.local_addr().unwrap());
        let global = watch::Sender::new(routes.global_state());
        let region = watch::Sender::new(routes.region_state());
        let access_log = dir.path().join("access.log");
        let prepared = run::prepare(Parts {
            identity: identity.clone(),
            feeds: Feeds {
                global: global.subscribe(),
                region: region.subscribe(),
            },
            memory: Memory::new(dir.path()),
            writing: Writing::default(),
            access_log: Some(access_log.clone()),
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            trusted_proxies: TrustedProxies::new(&[BALANCER.into()]),
            limit_redis: extras.redis.map(Into::into),
            geo_databases: extras.databases,
            registry: prometheus::Registry::new(),
        });
        let running = prepared.unwrap().serve(ports);
        Self {
            identity,
            http,
            https,
            forward,
            running,
            access_log,
            global,
            region,
            dir,
        }
    }

    /// Stops and starts again with the same identity and disk.
    pub async fn restart(self, routes: &Routes) -> Self {
        self.running.drain.run(Duration::from_millis(100)).await;
        let (identity, dir) = (self.identity.clone(), self.dir.clone());
        drop(self);
        Self::start_in(identity, routes, dir).await
    }

    pub fn item(&self) -> EdgeItem {
        EdgeItem {
            node_id: self.identity.node_id(),
            region: self.identity.region(),
            forward_address: self.forward,
        }
    }

    pub fn publish(&self, routes: &Routes) {
        self.global.send_replace(routes.global_state());
        self.region.send_replace(routes.region_state());
    }

    /// Publishes, and waits until the endpoints of a service are what can be used.
    pub async fn publish_and_settle(
        &self,
        routes: &Routes,
        service: ServiceId,
        usable: &[&Instance],
    ) {
        self.publish(routes);
        self.usable(service, usable).await;
    }

    pub async fn usable(&self, service: ServiceId, expected: &[&Instance]) {
        until("endpoints are usable", async || {
            let routes = self.running.state.routes.load();
            let Some(pool) = routes.service(service) else {
                return false;
            };
            let mut usable: Vec<_> = pool
                .endpoints()
                .iter()
                .filter(|e| e.is_usable())
                .map(|e| e.spec.address)
                .collect();
            let mut wanted: Vec<_> = expected.iter().map(|i| i.address()).collect();
            usable.sort();
            wanted.sort();
            usable == wanted
        })
        .await;
    }

    /// The lines of the access log, once there are as many.
    pub async fn log(&self, at_least: usize) -> Vec<serde_json::Value> {
        let read = || -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(&self.access_log).unwrap_or_default();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        until("the access log", async || read().len() >= at_least).await;
        read()
    }
}
