//! PostgreSQL passes the suite that the simulation's tables pass: what the model promises is what the
//! store does.

mod builds;
mod liveness;
mod orphan;
mod rollout;

use std::{collections::BTreeMap, time::Duration};

use control_plane::store::{
    Pools,
    deployment::{self, Deployment},
    epoch,
    evaluation::{self, Claim, Shortage},
    feed::{self, Change, Following},
    instance, lease, node_report,
    placement::{self, Purpose},
    tx::SystemTx,
};
use domain::{
    deployment::{
        Source,
        machine::{State as Stand, Step},
    },
    generation::{Epoch, Position},
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
};
use protocol::feed::{FeedName, digest::Rendered};
use scheduler::{Amount, Placement};
use sqlx::types::Json;
use testkit::compare_and_set::{CAUSE, Item, Sent, Tables, agent_report, suite};
use uuid::Uuid;

use crate::orchestration::platform::Platform;

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_compares_and_sets_as_the_model_does() {
    suite(&mut Postgres::new().await).await;
}

struct Postgres {
    platform: Platform,
    pools: Pools,
    /// As read last: a writer that is overtaken has nothing newer.
    read: BTreeMap<DeploymentId, Deployment>,
    rooms: BTreeMap<NodeId, u32>,
    claim: Option<Claim>,
    made: u32,
}

impl Postgres {
    async fn new() -> Self {
        let platform = Platform::new().await;
        Self {
            pools: platform.pools().await,
            platform,
            read: BTreeMap::new(),
            rooms: BTreeMap::new(),
            claim: None,
            made: 0,
        }
    }

    async fn begin(&self) -> SystemTx {
        SystemTx::begin(&self.pools).await.unwrap()
    }

    async fn find(&mut self, id: DeploymentId) -> Option<Deployment> {
        let mut tx = self.begin().await;
        let found = deployment::find_unfinished(&mut tx, id).await.unwrap();
        if let Some(found) = &found {
            self.read.insert(id, found.clone());
        }
        found
    }

    async fn service_of(&self, id: DeploymentId) -> ServiceId {
        let service: Uuid = sqlx::query_scalar("select service_id from deployment where id = $1")
            .bind(id.uuid())
            .fetch_one(&self.platform.pool)
            .await
            .unwrap();
        service.into()
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("made-{}", self.made)
    }
}

impl Tables for Postgres {
    async fn node(&mut self, room: u32) -> NodeId {
        let (id, name) = (NodeId::new(), self.name());
        sqlx::query(
            "insert into node (id, region_id, role, name, public_key)
             select $1, id, 'agent', $2, '' from region where name = 'us-east'",
        )
        .bind(id.uuid())
        .bind(name)
        .execute(&self.platform.pool)
        .await
        .unwrap();
        self.rooms.insert(id, room);
        assert!(self.report(id, "first", 1, &[]).await);
        id
    }

    async fn drain(&mut self, node: NodeId, draining: bool) {
        sqlx::query("update node set draining = $2 where id = $1")
            .bind(node.uuid())
            .bind(draining)
            .execute(&self.platform.pool)
            .await
            .unwrap();
    }

    async fn reserved(&mut self, node: NodeId) -> (u32, u64) {
        let (cpu, memory): (i64, i64) = sqlx::query_as(
            "select reserved_cpu_millis, reserved_memory_bytes from node where id = $1",
        )
        .bind(node.uuid())
        .fetch_one(&self.platform.pool)
        .await
        .unwrap();
        (
            u32::try_from(cpu).unwrap(),
            u64::try_from(memory).unwrap() >> 20,
        )
    }

    async fn service(&mut self) -> ServiceId {
        let name = self.name();
        self.platform.service(&name, SPEC).await
    }

    async fn deploy(&mut self, service: ServiceId) -> DeploymentId {
        let id = DeploymentId::new();
        let source = Source::Release {
            id: ReleaseId::new(),
        };
        sqlx::query(
            "insert into deployment (id, organization_id, service_id, number, source, spec, reason, state)
             select $1, s.organization_id, s.id, 1 + count(d.id), $3, s.spec, 'deploy', 'queued'
             from service s left join deployment d on d.service_id = s.id where s.id = $2 group by s.id",
        )
        .bind(id.uuid())
        .bind(service.uuid())
        .bind(Json(source))
        .execute(&self.platform.pool)
        .await
        .unwrap();
        id
    }

    async fn version(&mut self, deployment: DeploymentId) -> Option<i64> {
        self.find(deployment).await.map(|found| found.version)
    }

    async fn advance(&mut self, deployment: DeploymentId, version: i64, to: Step) -> bool {
        let mut read = self.read[&deployment].clone();
        read.version = version;
        let next = Stand {
            step: to,
            ..read.state.clone()
        };
        let mut tx = self.begin().await;
        let advanced = deployment::advance(&mut tx, &read, &next).await.unwrap();
        tx.commit().await.unwrap();
        advanced
    }

    async fn target(&mut self, deployment: DeploymentId) {
        let found = self.find(deployment).await.unwrap();
        let mut tx = self.begin().await;
        deployment::target(&mut tx, &found).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn abandon(&mut self, deployment: DeploymentId) {
        let found = self.find(deployment).await.unwrap();
        let mut tx = self.begin().await;
        deployment::abandon(&mut tx, &found).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn target_of(&mut self, service: ServiceId) -> Option<DeploymentId> {
        let mut tx = self.begin().await;
        let found = placement::lock_service(&mut tx, service).await.unwrap();
        found.unwrap().target
    }

    async fn place(
        &mut self,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    ) -> Option<InstanceId> {
        let service = self.service_of(deployment).await;
        let mut tx = self.begin().await;
        let service = placement::lock_service(&mut tx, service).await.unwrap();
        let placement = Placement {
            deployment_id: deployment,
            release_id: ReleaseId::new(),
            node_id: node,
            region: "us-east".parse().unwrap(),
            resources: Amount {
                cpu: MilliCpu(room),
                memory: Bytes::mebibytes(room.into()),
            },
        };
        let service = service.unwrap();
        let placed = placement::place(&mut tx, &service, &placement, Purpose::Serve);
        let placed = placed.await.unwrap();
        tx.commit().await.unwrap();
        placed
    }

    async fn tell(&mut self, instance: InstanceId) -> bool {
        let mut tx = self.begin().await;
        let told = instance::tell(&mut tx, instance).await.unwrap();
        tx.commit().await.unwrap();
        told
    }

    async fn gone(&mut self, instance: InstanceId) -> bool {
        let mut tx = self.begin().await;
        let gone = instance::gone(&mut tx, instance).await.unwrap();
        tx.commit().await.unwrap();
        gone
    }

    async fn report(
        &mut self,
        node: NodeId,
        boot: &str,
        sequence: u64,
        instances: &[(InstanceId, State)],
    ) -> bool {
        let report = agent_report(boot, sequence, self.rooms[&node], instances);
        let mut tx = self.begin().await;
        let stored = node_report::store(&mut tx, node, 1, &report).await.unwrap();
        tx.commit().await.unwrap();
        stored.is_some()
    }

    async fn state(&mut self, instance: InstanceId) -> State {
        let number: i16 =
            sqlx::query_scalar("select state from instance_status where instance_id = $1")
                .bind(instance.uuid())
                .fetch_one(&self.platform.pool)
                .await
                .unwrap();
        State::from_number(number).unwrap()
    }

    async fn is_reported(&mut self, instance: InstanceId) -> bool {
        sqlx::query_scalar(
            "select t.reported_at is not distinct from s.reported_at
             from instance i join instance_status t on t.instance_id = i.id
             join node_status s on s.node_id = i.node_id where i.id = $1",
        )
        .bind(instance.uuid())
        .fetch_one(&self.platform.pool)
        .await
        .unwrap()
    }

    async fn write(&mut self, feed: &FeedName, changes: &[Item<'_>]) -> Position {
        let changes = changes.iter().map(change).collect();
        let changes = BTreeMap::from([(feed.clone(), changes)]);
        let mut tx = self.begin().await;
        let positions = feed::write(&mut tx, changes).await.unwrap();
        tx.commit().await.unwrap();
        positions[feed]
    }

    async fn read(&mut self, feed: &FeedName, at: Position) -> Sent {
        let following = Following {
            epoch: at.epoch,
            after: at.generation,
        };
        let mut tx = self.begin().await;
        let changes = feed::changes(&mut tx, feed, following).await.unwrap();
        tx.commit().await.unwrap();
        Sent {
            position: changes.head.position,
            digest: changes.head.digest,
            full: changes.full,
            items: changes.items.into_iter().map(|(id, _)| id).collect(),
            gone: changes.deleted.into_iter().map(|(id, _)| id).collect(),
        }
    }

    async fn lease(&mut self, name: &str, holder: u8, lifetime: Duration) -> Option<i64> {
        let holder = Uuid::from_u128(holder.into());
        let mut tx = self.begin().await;
        let epoch = lease::take(&mut tx, name, holder, lifetime).await.unwrap();
        tx.commit().await.unwrap();
        epoch
    }

    async fn hand_over(&mut self, holder: u8) {
        let holder = Uuid::from_u128(holder.into());
        let mut tx = self.begin().await;
        lease::release(&mut tx, holder).await.unwrap();
        evaluation::release(&mut tx, holder).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn request(&mut self, service: ServiceId) {
        let organization = self.platform.organization;
        let mut tx = self.begin().await;
        let requested = evaluation::request(&mut tx, organization, service, "test");
        requested.await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn claim(&mut self) -> Option<ServiceId> {
        let mut tx = self.begin().await;
        let claim = evaluation::claim(&mut tx, Uuid::from_u128(1))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.claim = claim.or(self.claim);
        claim.map(|claim| claim.service)
    }

    async fn finish(&mut self, blocked: bool) {
        let claim = self.claim.take().unwrap();
        let short = Shortage {
            deployment_id: DeploymentId::new(),
            region: "us-east".into(),
            missing: 1,
            explanation: String::new(),
        };
        let shortages = blocked.then_some(short).into_iter().collect();
        let mut tx = self.begin().await;
        evaluation::finish(&mut tx, &claim, shortages)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn revive(&mut self) {
        let mut tx = self.begin().await;
        evaluation::revive(&mut tx, true).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn show(&mut self, feed: &FeedName, position: Position) {
        let mut tx = self.begin().await;
        epoch::show(&mut tx, feed, position).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn shown(&mut self) -> Option<Position> {
        let mut tx = self.begin().await;
        let shown = epoch::shown(&mut tx).await.unwrap();
        shown.map(|shown| shown.position)
    }

    async fn restored(&mut self) -> Epoch {
        let mut tx = self.begin().await;
        let epoch = epoch::restored(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        epoch
    }
}

const SPEC: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

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
