//! Nodes' silence in PostgreSQL. Time passes by moving what was written into the past.

use std::time::Duration;

use control_plane::store::{fence, liveness, node_report, placement};
use domain::{
    generation::Position,
    id::{InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::feed::FeedName;
use scheduler::Liveness;
use testkit::compare_and_set::{
    agent_report, applied,
    liveness::{LATE_AFTER, Nodes},
};

use super::Postgres;

impl Nodes for Postgres {
    async fn pass(&mut self, time: Duration) {
        sqlx::query(
            "with nodes as (
                update node_status set reported_at = reported_at - make_interval(secs => $1),
                    late_since = late_since - make_interval(secs => $1)
             ), instances as (
                update instance_status set reported_at = reported_at - make_interval(secs => $1)
             ), over as (
                update instance set stopped_at = stopped_at - make_interval(secs => $1)
             ), orphans as (
                update orphan_instance set let_go_at = let_go_at - make_interval(secs => $1)
             ), tombstones as (
                update feed_tombstone set created_at = created_at - make_interval(secs => $1)
             )
             update platform set listened_at = listened_at - make_interval(secs => $1),
                listening_since = listening_since - make_interval(secs => $1),
                epoch_since = epoch_since - make_interval(secs => $1)",
        )
        .bind(time.as_secs_f64())
        .execute(&self.platform.pool)
        .await
        .unwrap();
    }

    async fn look(&mut self) {
        let mut tx = self.begin().await;
        liveness::listen(&mut tx, liveness::GAP).await.unwrap();
        liveness::mark_late(&mut tx, LATE_AFTER).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn liveness(&mut self, node: NodeId) -> Liveness {
        let nodes = placement::nodes(&mut self.begin().await).await.unwrap();
        nodes.iter().find(|n| n.id == node).unwrap().liveness
    }

    async fn is_disturbed(&mut self, service: ServiceId) -> bool {
        let disturbed = liveness::disturbed(&mut self.begin().await).await;
        let mut services = disturbed.unwrap().into_iter().map(|(_, service)| service);
        services.any(|disturbed| disturbed == service)
    }

    async fn fence(&mut self, node: NodeId) -> bool {
        let mut tx = self.begin().await;
        let fenced = fence::fence(&mut tx, node).await.unwrap();
        tx.commit().await.unwrap();
        fenced
    }

    async fn stop_fenced(&mut self) -> Vec<InstanceId> {
        let mut tx = self.begin().await;
        let lost = fence::stop_instances(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        lost.into_iter().map(|lost| lost.instance).collect()
    }

    async fn report_applied(
        &mut self,
        node: NodeId,
        sequence: u64,
        position: Position,
        instances: &[(InstanceId, State)],
    ) {
        let report = agent_report("first", sequence, self.rooms[&node], instances);
        let report = applied(report, FeedName::Node(node), position);
        let mut tx = self.begin().await;
        let stored = node_report::store(&mut tx, node, 1, &report).await.unwrap();
        tx.commit().await.unwrap();
        assert!(stored.is_some());
    }
}
