//! Rollouts in PostgreSQL.

use control_plane::{
    feed::route::{RENDERING, Rendering},
    reconcile::rollout::{Action, View, look, write},
    store::{
        node_report, ring,
        rollout::{self, Counts, EdgeView},
    },
};
use domain::{generation::Position, id::NodeId, quantity::Span, ring::Ring};
use protocol::{feed::FeedName, report::Traffic};
use testkit::compare_and_set::{
    applied, edge_report,
    rollout::{Fares, Rollouts, Stand, Step},
};

use super::Postgres;

impl Rollouts for Postgres {
    type Seen = View;

    async fn edge(&mut self, ring: Ring) -> NodeId {
        let (id, name) = (NodeId::new(), self.name());
        sqlx::query(
            "insert into node (id, region_id, role, name, public_key, ring)
             select $1, id, 'edge', $2, '', $3 from region where name = 'us-east'",
        )
        .bind(id.uuid())
        .bind(name)
        .bind(ring.as_str())
        .execute(&self.platform.pool)
        .await
        .unwrap();
        id
    }

    async fn edge_reports(
        &mut self,
        edge: NodeId,
        (boot, sequence): (&str, u64),
        traffic: Traffic,
        feeds: &[(FeedName, Position)],
    ) {
        let report = edge_report(boot, sequence, traffic);
        let report = feeds.iter().fold(report, |report, (feed, position)| {
            applied(report, feed.clone(), *position)
        });
        let mut tx = self.begin().await;
        let stored = node_report::store(&mut tx, edge, 1, &report).await.unwrap();
        tx.commit().await.unwrap();
        assert!(stored.is_some());
    }

    async fn edge_is_late(&mut self, edge: NodeId) {
        sqlx::query("update node_status set late_since = now() where node_id = $1")
            .bind(edge.uuid())
            .execute(&self.platform.pool)
            .await
            .unwrap();
    }

    async fn look_at_rollout(&mut self, newest: i32) -> View {
        let mut tx = self.begin().await;
        look(&mut tx, newest, Span::seconds(1)).await.unwrap()
    }

    async fn take(&mut self, seen: &View, step: Step) {
        let action = match step {
            Step::BeginAnew => Action::BeginAnew,
            Step::Start => Action::Start,
            Step::Advance(ring) => Action::Advance(ring),
            Step::Rendered(ring) => Action::Render(ring),
            Step::Soak(ring) => Action::Soak(ring),
            Step::Count(ring) => Action::Count(ring),
            Step::Stop => Action::Stop("it fails".to_owned()),
            Step::Finish => Action::Finish,
        };
        let mut tx = self.begin().await;
        write(&mut tx, seen, &action).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn resume(&mut self) {
        let mut tx = self.begin().await;
        rollout::resume(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn rollout(&mut self) -> (i32, String) {
        let found = rollout::find(&mut self.begin().await).await.unwrap();
        (found.version, found.state.as_str().to_owned())
    }

    async fn rings(&mut self) -> Vec<Stand> {
        let rings = rollout::rings(&mut self.begin().await).await.unwrap();
        let stand = |ring: &rollout::RingView| Stand {
            version: ring.version,
            rendered: ring.rendered_at.is_some(),
            soaking: ring.soaking_since.is_some(),
            counted: ring.counted_at.is_some(),
        };
        rings.iter().map(stand).collect()
    }

    async fn fares(&mut self, edge: NodeId) -> Fares {
        let rings = rollout::rings(&mut self.begin().await).await.unwrap();
        let mut edges = rings.into_iter().flat_map(|ring| ring.edges);
        fares(&edges.find(|found| found.node == edge).unwrap())
    }

    async fn may_write(&mut self, newest: i32) -> bool {
        let rendering = Rendering {
            version: newest,
            ..RENDERING
        };
        ring::rings(&mut self.begin().await, rendering)
            .await
            .is_ok()
    }
}

fn fares(edge: &EdgeView) -> Fares {
    let traffic = |counts: Counts| Traffic {
        requests: counts.requests.try_into().unwrap(),
        failed: counts.failed.try_into().unwrap(),
        unrouted: counts.unrouted.try_into().unwrap(),
        items_refused: counts.items_refused.try_into().unwrap(),
    };
    Fares {
        applied: edge.applied,
        restarted: edge.restarted,
        before: traffic(edge.before),
        after: traffic(edge.after),
    }
}
