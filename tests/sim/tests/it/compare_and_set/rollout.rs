//! Rollouts in the model.

use control_plane::{
    reconcile::rollout::{Action, View},
    store::rollout::{Counts, EdgeView},
};
use domain::{generation::Position, id::NodeId, ring::Ring};
use protocol::{feed::FeedName, report::Traffic};
use sim::{
    clock::SECOND,
    table::{NodeRow, RingRow},
};
use testkit::compare_and_set::{
    Tables as _, applied, edge_report,
    rollout::{Fares, Rollouts, Stand, Step},
};

use super::Model;

impl Rollouts for Model {
    type Seen = View;

    async fn edge(&mut self, ring: Ring) -> NodeId {
        let of = self.node(1).await;
        let id = NodeId::new();
        let row = NodeRow {
            id,
            is_edge: true,
            ring,
            status: None,
            ..self.tables.nodes[&of].clone()
        };
        self.tables.nodes.insert(id, row);
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
        assert!(self.store(edge, &report));
    }

    async fn edge_is_late(&mut self, edge: NodeId) {
        let row = self.tables.nodes.get_mut(&edge).unwrap();
        row.status.as_mut().unwrap().late_since = Some(self.now);
    }

    async fn look_at_rollout(&mut self, newest: i32) -> View {
        self.tables.rollout_view(newest, SECOND, self.now)
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
        let now = self.tick();
        if self.tables.rollout_is_still(seen) {
            self.tables.take_step(seen, &action, now);
        }
    }

    async fn resume(&mut self) {
        let now = self.tick();
        self.tables.rollout.resume(now);
    }

    async fn rollout(&mut self) -> (i32, String) {
        let newest = &self.tables.rollout.newest;
        (newest.version, newest.state.as_str().to_owned())
    }

    async fn rings(&mut self) -> Vec<Stand> {
        let stand = |ring: &RingRow| Stand {
            version: ring.version,
            rendered: ring.rendered_at.is_some(),
            soaking: ring.soaking_since.is_some(),
            counted: ring.counted_at.is_some(),
        };
        self.tables.rollout.rings.values().map(stand).collect()
    }

    async fn fares(&mut self, edge: NodeId) -> Fares {
        let rings = self.tables.rollout_view(0, SECOND, self.now).rings;
        let mut edges = rings.into_iter().flat_map(|ring| ring.edges);
        fares(&edges.find(|found| found.node == edge).unwrap())
    }

    async fn may_write(&mut self, newest: i32) -> bool {
        self.tables.rings(newest).is_some()
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
