//! Orphans in PostgreSQL.

use control_plane::store::{epoch, node_report, orphan, placement};
use domain::{
    generation::Position,
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::State,
    quantity::{Bytes, MilliCpu},
};
use protocol::feed::FeedName;
use scheduler::{Amount, Placement};
use testkit::compare_and_set::{
    agent_report, applied,
    orphan::{Orphan, Orphans},
    with_item,
};

use super::Postgres;

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
        position: Position,
    ) {
        let runs = [(orphan.instance, State::Running)];
        let report = agent_report("first", sequence, self.rooms[&node], &runs);
        let report = with_item(report, orphan.service, Some("a"));
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
        tx.commit().await.unwrap();
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

    async fn is_settling(&mut self) -> bool {
        epoch::is_settling(&mut self.begin().await).await.unwrap()
    }
}
