//! The model's tables pass the suite that PostgreSQL passes.

mod builds;
mod liveness;
mod orphan;
mod rollout;

use std::{collections::BTreeMap, time::Duration};

use control_plane::store::{
    evaluation::Shortage,
    feed::{Change, Following},
};
use domain::{
    deployment::{
        Source,
        machine::{State as Stand, Step, queued},
    },
    generation::{Epoch, Position},
    id::{
        DeploymentId, EnvironmentId, EvaluationId, InstanceId, NodeId, OrganizationId, ProjectId,
        ReleaseId, ServiceId,
    },
    instance::State,
    quantity::{Bytes, MilliCpu},
    ring::Ring,
    spec::ServiceSpec,
};
use protocol::feed::{FeedName, digest::Rendered};
use scheduler::Amount;
use sim::{
    clock,
    table::{self, Claim, NewInstance, NodeRow, ServiceRow, Tenant},
};
use testkit::compare_and_set::{CAUSE, Item, Sent, Tables, agent_report, suite};
use uuid::Uuid;

#[tokio::test]
async fn the_model_compares_and_sets_as_postgresql_does() {
    suite(&mut Model::new()).await;
}

struct Model {
    tables: table::Tables,
    rooms: BTreeMap<NodeId, u32>,
    claim: Option<Claim>,
    /// Every transaction has a time of its own.
    now: clock::Millis,
    /// Planted in what is kept of nodes' silence.
    mistake: Option<liveness::Mistake>,
    /// Planted in what is kept of builds.
    build_mistake: Option<builds::Mistake>,
}

impl Model {
    fn new() -> Self {
        let tenant = Tenant {
            organization: OrganizationId::new(),
            project: ProjectId::new(),
            environment: EnvironmentId::new(),
            name: "production".parse().unwrap(),
        };
        Self {
            tables: table::Tables::new(vec!["us-east".parse().unwrap()], tenant),
            rooms: BTreeMap::new(),
            claim: None,
            now: 1_000_000,
            mistake: None,
            build_mistake: None,
        }
    }

    fn tick(&mut self) -> clock::Millis {
        self.now += 1;
        self.tables.clock = self.now;
        self.now
    }
}

impl Tables for Model {
    async fn node(&mut self, room: u32) -> NodeId {
        let id = NodeId::new();
        let row = NodeRow {
            id,
            is_edge: false,
            ring: Ring::All,
            region: "us-east".parse().unwrap(),
            schedulable: true,
            draining: false,
            fenced: false,
            reserved: Amount::default(),
            status: None,
        };
        self.tables.nodes.insert(id, row);
        self.rooms.insert(id, room);
        assert!(self.report(id, "first", 1, &[]).await);
        id
    }

    async fn drain(&mut self, node: NodeId, draining: bool) {
        self.tables.nodes.get_mut(&node).unwrap().draining = draining;
    }

    async fn reserved(&mut self, node: NodeId) -> (u32, u64) {
        let reserved = self.tables.nodes[&node].reserved;
        (reserved.cpu.0, reserved.memory.0 >> 20)
    }

    async fn service(&mut self) -> ServiceId {
        let id = ServiceId::new();
        let row = ServiceRow {
            id,
            name: "web".parse().unwrap(),
            spec: spec(),
            active: true,
            deleted: false,
            current: None,
            down: None,
            target: None,
            routed: None,
            hostname: "web.railhead.test".to_owned(),
            locked: 0,
        };
        self.tables.services.insert(id, row);
        id
    }

    async fn deploy(&mut self, service: ServiceId) -> DeploymentId {
        let (id, now) = (DeploymentId::new(), self.tick());
        let source = Source::Release {
            id: ReleaseId::new(),
        };
        self.tables
            .insert_deployment(id, service, source, spec(), now);
        id
    }

    async fn version(&mut self, deployment: DeploymentId) -> Option<i64> {
        let found = self.tables.find_unfinished(deployment, self.now);
        found.map(|deployment| deployment.version)
    }

    async fn advance(&mut self, deployment: DeploymentId, version: i64, to: Step) -> bool {
        let next = Stand {
            step: to,
            ..queued(clock::wall(self.now))
        };
        self.tables.advance(deployment, version, &next)
    }

    async fn target(&mut self, deployment: DeploymentId) {
        self.tables.target(deployment);
    }

    async fn abandon(&mut self, deployment: DeploymentId) {
        self.tables.abandon(deployment);
    }

    async fn target_of(&mut self, service: ServiceId) -> Option<DeploymentId> {
        self.tables.service(service)?.target
    }

    async fn place(
        &mut self,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    ) -> Option<InstanceId> {
        let id = InstanceId::new();
        let new = NewInstance {
            id,
            service: self.tables.deployments[&deployment].service,
            deployment,
            release: ReleaseId::new(),
            node,
            amount: Amount {
                cpu: MilliCpu(room),
                memory: Bytes::mebibytes(room.into()),
            },
        };
        self.tables.place(new, true).then_some(id)
    }

    async fn tell(&mut self, instance: InstanceId) -> bool {
        self.tables.tell(instance)
    }

    async fn gone(&mut self, instance: InstanceId) -> bool {
        self.tables.gone(instance)
    }

    async fn report(
        &mut self,
        node: NodeId,
        boot: &str,
        sequence: u64,
        instances: &[(InstanceId, State)],
    ) -> bool {
        let report = agent_report(boot, sequence, self.rooms[&node], instances);
        self.store(node, &report)
    }

    async fn state(&mut self, instance: InstanceId) -> State {
        self.tables.instances[&instance].status.state
    }

    async fn is_reported(&mut self, instance: InstanceId) -> bool {
        let row = &self.tables.instances[&instance];
        let node = self.tables.nodes[&row.node].status.as_ref().unwrap();
        row.status.reported_at == Some(node.reported_at)
    }

    async fn write(&mut self, feed: &FeedName, changes: &[Item<'_>]) -> Position {
        self.tick();
        let changes = changes.iter().map(change).collect();
        let changes = BTreeMap::from([(feed.clone(), changes)]);
        self.tables.write_feeds(changes)[feed]
    }

    async fn read(&mut self, feed: &FeedName, at: Position) -> Sent {
        let following = Following {
            epoch: at.epoch,
            after: at.generation,
        };
        let changes = self.tables.changes(feed, following);
        Sent {
            position: changes.head.position,
            digest: changes.head.digest,
            full: changes.full,
            items: changes.items.into_iter().map(|(id, _)| id).collect(),
            gone: changes.deleted.into_iter().map(|(id, _)| id).collect(),
        }
    }

    async fn lease(&mut self, name: &str, holder: u8, lifetime: Duration) -> Option<i64> {
        let (holder, now) = (Uuid::from_u128(holder.into()), self.tick());
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap();
        self.tables.take_lease(name, holder, lifetime, now)
    }

    async fn hand_over(&mut self, holder: u8) {
        let (holder, now) = (Uuid::from_u128(holder.into()), self.tick());
        self.tables.release_leases(holder, now);
        self.tables.release_evaluations(holder, now);
    }

    async fn request(&mut self, service: ServiceId) {
        let now = self.tick();
        self.tables
            .request_evaluation(EvaluationId::new(), service, now);
    }

    async fn claim(&mut self) -> Option<ServiceId> {
        let now = self.tick();
        let claim = self.tables.claim_evaluation(Uuid::from_u128(1), now)?;
        self.claim = Some(claim);
        Some(claim.service)
    }

    async fn finish(&mut self, blocked: bool) {
        let (claim, now) = (self.claim.take().unwrap(), self.tick());
        let short = Shortage {
            deployment_id: DeploymentId::new(),
            region: "us-east".into(),
            missing: 1,
            explanation: String::new(),
        };
        let shortages = blocked.then_some(short).into_iter().collect();
        self.tables.finish_evaluation(claim, shortages, now);
    }

    async fn revive(&mut self) {
        let now = self.tick();
        for service in self.tables.revive_evaluations(true, now) {
            self.request(service).await;
        }
    }

    async fn show(&mut self, feed: &FeedName, position: Position) {
        self.tables.show(feed, position);
    }

    async fn shown(&mut self) -> Option<Position> {
        let shown = self.tables.platform.shown.as_ref();
        shown.map(|(_, position)| *position)
    }

    async fn restored(&mut self) -> Epoch {
        self.tick();
        self.tables.restored()
    }
}

fn change(item: &Item<'_>) -> Change {
    match item {
        Item::Put(id, value) => Change::Put {
            id: (*id).into(),
            item: Rendered::of(value).unwrap(),
            secrets: vec![],
        },
        Item::Delete(id) => Change::Delete {
            id: (*id).into(),
            cause: CAUSE,
        },
        Item::LetGo(id) => Change::LetGo {
            id: (*id).into(),
            cause: CAUSE,
        },
    }
}

fn spec() -> ServiceSpec {
    serde_json::from_str(r#"{"scale":{"regions":{"us-east":1}}}"#).unwrap()
}
