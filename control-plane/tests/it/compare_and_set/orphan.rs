//! Orphans in PostgreSQL.

use control_plane::store::{epoch, node_report, orphan, placement, tx::SystemTx};
use domain::{
    generation::Position,
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
};
use protocol::feed::FeedName;
use scheduler::{Amount, Placement};
use sqlx::PgPool;
use testkit::{
    compare_and_set::{
        Tables as _, agent_report, applied,
        orphan::{Orphan, Orphans},
        with_item,
    },
    wait::until,
};

use super::Postgres;
use crate::orchestration::platform::DEADLINE;

/// Whoever tells of it does not see yet that it is taken back, and finds its row gone as soon as it may change it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_while_it_is_taken_back_is_not_taken_back_again() {
    let mut tables = Postgres::new().await;
    let orphan = Orphan {
        instance: InstanceId::new(),
        service: tables.service().await,
    };
    let deployment = tables.deploy(orphan.service).await;
    let node = tables.node(1_000).await;
    tables.report_orphan(node, 2, orphan, Some("a")).await;
    let adoption = tables.adoption(orphan.instance, deployment, node, 100);
    let (adoption, pool) = (adoption.await, tables.platform.pool.clone());
    let commit = async {
        until(DEADLINE, async || somebody_waits(&pool).await).await;
        adoption.commit().await.unwrap();
    };
    let report = tables.report_orphan(node, 3, orphan, Some("a"));
    let (is_news, ()) = tokio::join!(report, commit);
    assert!(is_news, "its row was gone");
    assert_eq!(tables.candidates(orphan.service).await, []);
}

async fn somebody_waits(pool: &PgPool) -> bool {
    sqlx::query_scalar(
        "select exists (select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

impl Postgres {
    /// A transaction that takes an orphan back and is not committed yet.
    async fn adoption(
        &self,
        instance: InstanceId,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    ) -> SystemTx {
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
        let adopted = orphan::adopt(&mut tx, &service, instance, &placement);
        adopted.await.unwrap();
        tx
    }
}

impl Orphans for Postgres {
    async fn report_orphan(
        &mut self,
        node: NodeId,
        sequence: u64,
        orphan: Orphan,
        item: Option<&str>,
    ) -> bool {
        let runs = [(orphan.instance, State::Running)];
        let report = agent_report("first", sequence, self.rooms[&node], &runs);
        let report = with_item(report, orphan.service, item);
        let mut tx = self.begin().await;
        let stored = node_report::store(&mut tx, node, 1, &report).await.unwrap();
        tx.commit().await.unwrap();
        stored.unwrap().orphans
    }

    async fn keeps_orphan(
        &mut self,
        node: NodeId,
        sequence: u64,
        orphan: Orphan,
        item: Option<&str>,
        position: Position,
    ) {
        let runs = [(orphan.instance, State::Running)];
        let report = agent_report("first", sequence, self.rooms[&node], &runs);
        let report = with_item(report, orphan.service, item);
        let report = applied(report, FeedName::Node(node), position);
        let mut tx = self.begin().await;
        let stored = node_report::store(&mut tx, node, 1, &report).await.unwrap();
        tx.commit().await.unwrap();
        assert!(stored.is_some());
    }

    async fn candidates(&mut self, service: ServiceId) -> Vec<(InstanceId, Option<String>)> {
        let candidates = orphan::candidates(&mut self.begin().await, service).await;
        let candidates = candidates.unwrap().into_iter();
        let known = candidates.map(|one| (one.instance, one.item.map(|item| item.json)));
        known.collect()
    }

    async fn take_back(
        &mut self,
        instance: InstanceId,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    ) {
        let adoption = self.adoption(instance, deployment, node, room).await;
        adoption.commit().await.unwrap();
    }

    async fn let_go(&mut self, instance: InstanceId) -> bool {
        let mut tx = self.begin().await;
        let found = orphan::let_go(&mut tx, instance).await.unwrap();
        tx.commit().await.unwrap();
        found
    }

    async fn let_go_of_service(&mut self, service: ServiceId) {
        let mut tx = self.begin().await;
        orphan::let_go_of_service(&mut tx, service).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn going(&mut self) -> Vec<InstanceId> {
        let going = orphan::going(&mut self.begin().await).await.unwrap();
        going.into_iter().map(|(_, instance)| instance).collect()
    }

    async fn fail_over(&mut self) {
        sqlx::query("update platform set timeline = timeline - 1")
            .execute(&self.platform.pool)
            .await
            .unwrap();
    }

    async fn is_settling(&mut self) -> bool {
        epoch::is_settling(&mut self.begin().await).await.unwrap()
    }
}
