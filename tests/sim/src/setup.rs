//! The world at its start: regions with machines, replicas over an empty database, a tenant's services.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use control_plane::feed::route::RENDERING;
use domain::{
    id::{EnvironmentId, NodeId, OrganizationId, ProjectId, ServiceId},
    name::Name,
    quantity::{Bytes, MilliCpu, Span},
    ring::Ring,
    spec::{
        BuildSpec, DeploySpec, EdgeSpec, NetworkSpec, Resources, ScaleSpec, ServiceKind,
        ServiceSpec, Strategy,
    },
};
use protocol::{
    feed::signature::{FeedKeys, Signer},
    report::Capacity,
};
use scheduler::Amount;

use crate::{
    chaos::Blow,
    clock::SECOND,
    control::Replica,
    edge::EdgeNode,
    invariant::Checker,
    network::{Network, Peer},
    node::Node,
    outage::BEFORE,
    queue::Queue,
    random::Random,
    run::Scenario,
    table::{NodeRow, ServiceRow, Tables, Tenant},
    tenant::Intents,
    trace::Trace,
    world::{Database, Event, World},
};

/// Edges of each region.
const EDGES: usize = 2;
const EDGES_ALL: usize = EDGES * REGIONS.len();
/// Which ring each edge is in: mostly one is the canary, and those of another region come next. A ring without
/// edges is passed.
const RINGS: [[Ring; EDGES_ALL]; 4] = {
    use Ring::{All, Canary, Region};
    [
        [Canary, All, Region, Region, All, All],
        [Canary, All, Region, Region, All, All],
        [Canary, All, All, All, All, All],
        [All, All, Region, Region, All, All],
    ]
};
const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// One key for all histories: signatures are no part of a trace.
static SIGNER: LazyLock<Option<Arc<Signer>>> = LazyLock::new(|| {
    let key = Signer::generate_pkcs8().ok()?;
    Signer::from_pkcs8(&key).ok().map(Arc::new)
});

impl World {
    /// The world of a scenario.
    ///
    /// # Panics
    /// When the machine has no randomness for a signing key.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let signer = SIGNER.clone().expect("a signing key can be made");
        let keys = FeedKeys::from_base64(&[signer.public_key()]).unwrap_or_default();
        let regions: Vec<Name> = REGIONS
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let tenant = Tenant {
            organization: OrganizationId::from(random.uuid(0)),
            project: ProjectId::from(random.uuid(0)),
            environment: EnvironmentId::from(random.uuid(0)),
            name: name("production"),
        };
        let mut world = Self {
            now: 0,
            queue: Queue::new(random.fork()),
            trace: Trace::new(scenario.lines),
            network: Network::new(scenario.climate.weather),
            tables: Tables::new(regions, tenant),
            database: Database {
                up: true,
                since: 0,
                copy: None,
            },
            replicas: Vec::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            peers: BTreeMap::new(),
            programs: BTreeMap::new(),
            signer,
            keys,
            checker: Checker::default(),
            fault: scenario.fault,
            program: RENDERING.version,
            intents: Intents::default(),
            weather: scenario.climate.clone(),
            connections: 0,
            certificates: None,
            forked: false,
            outage: false,
            healed: None,
            rested: None,
            let_go: BTreeMap::new(),
            established: BTreeSet::new(),
            answered: 0,
            failed: 0,
            finished: 0,
            stopped: 0,
            adopted: 0,
            away: (0, 0),
            random,
        };
        world.build_machines(scenario);
        world.build_services(scenario);
        world.begin();
        if let Some(lasts) = scenario.outage {
            world.certify();
            world.after(BEFORE, Event::Blow(Blow::Outage));
            world.after(BEFORE + lasts, Event::Heal);
        } else {
            world.after(45 * SECOND + scenario.trouble_for, Event::Heal);
        }
        world
    }

    fn build_machines(&mut self, scenario: &Scenario) {
        for index in 0..scenario.replicas {
            let holder = self.random.uuid(0);
            self.replicas.push(Replica::new(index, holder));
        }
        let rings = self.random.pick(&RINGS).copied().unwrap_or(RINGS[0]);
        for region in self.tables.regions.clone() {
            for _ in 0..scenario.nodes_per_region {
                self.build_node(&region);
            }
            for _ in 0..EDGES {
                self.build_edge(&region, rings);
            }
        }
    }

    fn build_node(&mut self, region: &Name) {
        let id = NodeId::from(self.random.uuid(0));
        let index = self.nodes.len();
        let slots = u32::try_from(self.random.between(2, 4)).unwrap_or(2);
        let capacity = Capacity {
            cpu: MilliCpu(250 * slots),
            memory: Bytes::mebibytes(256 * u64::from(slots)),
        };
        self.nodes
            .push(Node::new(id, index, region.clone(), capacity));
        self.register(id, Peer::Agent(index), region);
    }

    fn build_edge(&mut self, region: &Name, rings: [Ring; EDGES_ALL]) {
        let id = NodeId::from(self.random.uuid(0));
        let index = self.edges.len();
        let ring = rings[index];
        self.checker.member(index, ring);
        let edge = EdgeNode::new(id, index, region.clone(), ring);
        self.edges.push(edge);
        self.register(id, Peer::Edge(index), region);
        if let Some(row) = self.tables.nodes.get_mut(&id) {
            row.ring = ring;
        }
    }

    fn register(&mut self, id: NodeId, peer: Peer, region: &Name) {
        self.peers.insert(id, peer);
        let row = NodeRow {
            id,
            is_edge: matches!(peer, Peer::Edge(_)),
            ring: Ring::All,
            region: region.clone(),
            schedulable: true,
            draining: false,
            fenced: false,
            reserved: Amount::default(),
            status: None,
        };
        self.tables.nodes.insert(id, row);
    }

    fn build_services(&mut self, scenario: &Scenario) {
        for index in 0..scenario.services {
            let id = ServiceId::from(self.random.uuid(0));
            let regions = self.some_regions();
            let kind = if self.random.chance(150) {
                ServiceKind::Worker
            } else {
                ServiceKind::Web
            };
            let strategy = if self.random.chance(150) {
                Strategy::Recreate
            } else {
                Strategy::Rolling
            };
            let row = ServiceRow {
                id,
                name: name(&format!("service-{index}")),
                spec: spec(kind, strategy, regions),
                active: false,
                deleted: false,
                current: None,
                down: None,
                target: None,
                routed: None,
                hostname: format!("service-{index}.railhead.test"),
                locked: 0,
            };
            self.tables.services.insert(id, row);
        }
    }

    fn begin(&mut self) {
        for index in 0..self.nodes.len() {
            self.start_agent(index);
        }
        for index in 0..self.edges.len() {
            self.start_edge(index);
        }
        for index in 0..self.replicas.len() {
            self.start_timers(index);
        }
        let services: Vec<ServiceId> = self.tables.services.keys().copied().collect();
        for service in services {
            self.now += SECOND;
            self.deploy_new(service);
        }
        self.now = 0;
        self.after(20 * SECOND, Event::Request);
        self.after(40 * SECOND, Event::Want);
        if !self.weather.troubles.is_empty() {
            self.after(45 * SECOND, Event::NextBlow);
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("the simulation's own names are names")
}

fn spec(kind: ServiceKind, strategy: Strategy, regions: BTreeMap<Name, u32>) -> ServiceSpec {
    ServiceSpec {
        kind,
        source: None,
        build: BuildSpec::default(),
        deploy: DeploySpec {
            strategy,
            progress_deadline: Span::seconds(180),
            draining: Span::seconds(4),
            ..DeploySpec::default()
        },
        scale: ScaleSpec {
            regions,
            resources: Resources::default(),
        },
        network: NetworkSpec::default(),
        edge: EdgeSpec::default(),
    }
}
