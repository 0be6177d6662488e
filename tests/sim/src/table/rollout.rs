//! Where each ring of edges stands with the newest rendering, as `store::rollout` and `store::ring` keep it.

use std::collections::BTreeMap;

use control_plane::{
    feed::route::{RENDERING, Rendering, Rings},
    reconcile::rollout::{Action, View},
    store::{
        rollout::{Counts, EdgeView, Progress, RingView, Rollout},
        route::Positions,
    },
};
use domain::{generation::Epoch, id::NodeId, quantity::Span, ring::Ring};
use protocol::feed::FeedName;

use super::{NodeRow, Tables};
use crate::{
    clock::{self, Millis},
    feeds, rendering,
};

/// The rows of a rollout.
#[derive(Debug, Clone)]
pub struct RolloutRows {
    pub newest: Rollout,
    pub rings: BTreeMap<Ring, RingRow>,
    /// Of no edge that was late when its ring's turn came.
    turns: BTreeMap<NodeId, Turn>,
    /// What an edge had counted when this ring began to serve by what it has, in which start of its process.
    settled: BTreeMap<NodeId, (Ring, String, Counts)>,
}

/// How an edge stood when its ring's turn came.
#[derive(Debug, Clone, Default)]
struct Turn {
    /// The start of its process.
    boot: String,
    counted: Counts,
    /// How it had fared by what its ring had.
    before: Counts,
}

/// A ring.
#[derive(Debug, Clone)]
pub struct RingRow {
    pub version: i32,
    /// What it goes back to.
    pub previous: i32,
    pub rendered_at: Option<Millis>,
    /// Where its feeds stood then.
    positions: Positions,
    pub soaking_since: Option<Millis>,
    /// When what its edges had counted soon after that was noted.
    pub counted_at: Option<Millis>,
}

impl Default for RolloutRows {
    fn default() -> Self {
        let ring = RingRow {
            version: RENDERING.version,
            previous: RENDERING.version,
            rendered_at: Some(0),
            positions: Positions::new(),
            soaking_since: None,
            counted_at: None,
        };
        Self {
            newest: Rollout {
                version: RENDERING.version,
                state: Progress::Done,
                problem: None,
                since: clock::wall(0),
                epoch: Epoch(1),
            },
            rings: Ring::ORDER.map(|of| (of, ring.clone())).into(),
            turns: BTreeMap::new(),
            settled: BTreeMap::new(),
        }
    }
}

impl RingRow {
    fn turn_to(&mut self, version: i32) {
        self.version = version;
        (self.rendered_at, self.soaking_since, self.counted_at) = (None, None, None);
    }
}

impl RolloutRows {
    fn say(&mut self, state: Progress, problem: Option<&str>, now: Millis) {
        self.newest.state = state;
        self.newest.problem = problem.map(str::to_owned);
        self.newest.since = clock::wall(now);
    }

    /// The newest version that a ring is at.
    #[must_use]
    pub fn newest_version(&self) -> i32 {
        let versions = self.rings.values().map(|ring| ring.version);
        versions.max().unwrap_or_default()
    }

    fn is_still(&self, seen: &Rollout) -> bool {
        let token = |of: &Rollout| (of.version, of.state, of.since, of.epoch);
        token(&self.newest) == token(seen)
    }

    /// An epoch has begun: what edges have applied, and fared by, is of another history.
    fn begin_anew(&mut self, seen: &View) {
        if seen.rollout.state == Progress::Running {
            self.go_back(seen.rollout.version);
        }
        for row in self.rings.values_mut() {
            row.turn_to(row.version);
        }
        self.newest.epoch = seen.epoch;
    }

    /// A newer program is there: its version begins its way, from what every ring had.
    fn start(&mut self, seen: &Rollout, version: i32, now: Millis) {
        if seen.state == Progress::Running {
            self.go_back(seen.version);
        }
        if self.newest.version < version {
            self.newest.version = version;
            self.say(Progress::Running, None, now);
        }
    }

    fn go_back(&mut self, version: i32) {
        let has_it = |row: &&mut RingRow| row.version == version && row.previous < version;
        for row in self.rings.values_mut().filter(has_it) {
            row.turn_to(row.previous);
        }
    }

    /// All edges of the ring serve by its version.
    fn soak(&mut self, ring: Ring, seen: &View, now: Millis) {
        let row = self.rings.get_mut(&ring);
        let row = row.filter(|row| row.version == seen.version_of(ring));
        let row = row.filter(|row| row.rendered_at.is_some());
        let as_seen =
            |row: &&mut RingRow| row.soaking_since.map(clock::wall) == seen.soaking_since(ring);
        if let Some(row) = row.filter(as_seen) {
            (row.soaking_since, row.counted_at) = (Some(now), None);
        }
    }

    /// It goes no further, and the rings that have it go back.
    fn stop(&mut self, version: i32, problem: &str, now: Millis) {
        if self.newest.version != version || self.newest.state == Progress::Stopped {
            return;
        }
        self.say(Progress::Stopped, Some(problem), now);
        self.go_back(version);
    }

    /// A stopped one begins again with the first ring.
    pub fn resume(&mut self, now: Millis) {
        if self.newest.state == Progress::Stopped {
            self.say(Progress::Running, None, now);
        }
    }

    /// Every ring has it.
    fn finish(&mut self, version: i32, now: Millis) {
        if self.newest.version == version && self.newest.state == Progress::Running {
            self.newest.state = Progress::Done;
            self.newest.since = clock::wall(now);
        }
    }
}

impl Tables {
    /// What routes are rendered with; none when a newer program has gone ahead.
    #[must_use]
    pub fn rings(&self, newest: i32) -> Option<Rings> {
        let rows = self.rollout.rings.iter();
        let versions: BTreeMap<Ring, i32> = rows.map(|(ring, row)| (*ring, row.version)).collect();
        let known = versions.values().all(|version| *version <= newest);
        known.then_some(Rings {
            rendering: Rendering {
                version: newest,
                render: rendering::render,
            },
            versions,
        })
    }

    /// What a rollout is decided by.
    #[must_use]
    pub fn rollout_view(&self, newest: i32, soak: Millis, now: Millis) -> View {
        let rings = self.rollout.rings.iter();
        View {
            newest,
            epoch: self.platform.epoch,
            rollout: self.rollout.newest.clone(),
            rings: rings
                .map(|(ring, row)| self.ring_view(*ring, row))
                .collect(),
            soak: Span::milliseconds(soak),
            now: clock::wall(now),
        }
    }

    fn ring_view(&self, ring: Ring, row: &RingRow) -> RingView {
        let edges = self.edges_of(ring);
        RingView {
            ring,
            version: row.version,
            rendered_at: row.rendered_at.map(clock::wall),
            soaking_since: row.soaking_since.map(clock::wall),
            counted_at: row.counted_at.map(clock::wall),
            edges: edges
                .map(|edge| self.edge_view(edge, &row.positions))
                .collect(),
        }
    }

    /// The edges of a ring.
    pub fn edges_of(&self, ring: Ring) -> impl Iterator<Item = &NodeRow> {
        let nodes = self.nodes.values();
        nodes.filter(move |node| node.is_edge && node.ring == ring)
    }

    fn edge_view(&self, edge: &NodeRow, positions: &Positions) -> EdgeView {
        let turn = self.rollout.turns.get(&edge.id).cloned();
        let turn = turn.unwrap_or_default();
        let status = edge.status.as_ref();
        let now = status.map(|status| status.traffic).unwrap_or_default();
        let settled = self.rollout.settled.get(&edge.id);
        let settled = settled.filter(|(of, ..)| *of == edge.ring);
        let is_other = |(_, boot, _): &(Ring, String, Counts)| {
            status.is_some_and(|status| status.boot_id != *boot)
        };
        // A process that has started since counts from nothing.
        let same_boot = status.is_some_and(|status| status.boot_id == turn.boot);
        let counted = if same_boot {
            turn.counted
        } else {
            Counts::default()
        };
        EdgeView {
            node: edge.id,
            name: edge.id.to_string(),
            late: edge.is_late(),
            reported_at: status.map(|status| clock::wall(status.reported_at)),
            applied: self.has_applied(edge, positions),
            restarted: settled.is_some_and(is_other),
            before: turn.before,
            after: less(now, counted),
        }
    }

    /// Whether an edge has applied its feeds up to these positions.
    fn has_applied(&self, edge: &NodeRow, positions: &Positions) -> bool {
        let own = positions.iter().filter(|(feed, _)| {
            let region = feeds::region_of(feed);
            region.is_none_or(|of| *of == edge.region)
        });
        own.into_iter().all(|(feed, position)| {
            let applied = self.node_feeds.get(&(edge.id, feed.clone()));
            applied.is_some_and(|applied| applied >= position)
        })
    }

    /// Whether nobody has taken a step that changed the rollout since it was seen, in this epoch.
    #[must_use]
    pub fn rollout_is_still(&self, seen: &View) -> bool {
        self.rollout.is_still(&seen.rollout) && self.platform.epoch == seen.epoch
    }

    /// Writes a step; who calls has seen that the rollout is still what it was decided by.
    pub fn take_step(&mut self, seen: &View, action: &Action, now: Millis) {
        let version = seen.rollout.version;
        match action {
            Action::BeginAnew => self.rollout.begin_anew(seen),
            Action::Start => self.rollout.start(&seen.rollout, seen.newest, now),
            Action::Advance(ring) => self.advance_ring(*ring, seen.version_of(*ring), version),
            Action::Render(ring) => self.ring_rendered(*ring, seen.version_of(*ring), now),
            Action::Soak(ring) => self.rollout.soak(*ring, seen, now),
            Action::Count(ring) => self.count(*ring, seen.version_of(*ring), now),
            Action::Stop(problem) => self.rollout.stop(version, problem, now),
            Action::Finish => self.rollout.finish(version, now),
        }
    }

    /// It is a ring's turn: from now on its feeds are written in this version.
    fn advance_ring(&mut self, ring: Ring, from: i32, to: i32) {
        let row = self.rollout.rings.get_mut(&ring);
        let Some(row) = row.filter(|row| row.version == from) else {
            return;
        };
        row.previous = row.version;
        row.turn_to(to);
        let edges: Vec<NodeId> = self.edges_of(ring).map(|edge| edge.id).collect();
        for edge in edges {
            match self.stand(edge) {
                Some((boot, counted)) => {
                    let before = self.fared(edge, ring, &boot, counted);
                    let turn = Turn {
                        boot,
                        counted,
                        before,
                    };
                    self.rollout.turns.insert(edge, turn);
                }
                None => _ = self.rollout.turns.remove(&edge),
            }
        }
    }

    /// What an edge that is not late has counted, in which start of its process.
    fn stand(&self, edge: NodeId) -> Option<(String, Counts)> {
        let status = self.nodes.get(&edge)?.status.as_ref();
        let status = status.filter(|status| status.late_since.is_none())?;
        Some((status.boot_id.clone(), status.traffic))
    }

    /// Of a process that has started since its ring began to serve so, all counts. Of an edge that came to the ring, or
    /// back, after that nothing does.
    fn fared(&self, edge: NodeId, ring: Ring, boot: &str, counted: Counts) -> Counts {
        let settled = self.rollout.settled.get(&edge);
        let fared = match settled.filter(|(of, ..)| *of == ring) {
            Some((_, same, since)) if same == boot => less(counted, *since),
            Some(_) => counted,
            None => Counts::default(),
        };
        Counts {
            items_refused: counted.items_refused,
            ..fared
        }
    }

    /// They have said since they serve by its version what they have counted.
    fn count(&mut self, ring: Ring, version: i32, now: Millis) {
        let row = self.rollout.rings.get_mut(&ring);
        let row = row.filter(|row| row.version == version && row.soaking_since.is_some());
        let Some(row) = row.filter(|row| row.counted_at.is_none()) else {
            return;
        };
        row.counted_at = Some(now);
        let edges: Vec<NodeId> = self.edges_of(ring).map(|edge| edge.id).collect();
        let settled = &mut self.rollout.settled;
        settled.retain(|edge, (of, ..)| *of != ring && !edges.contains(edge));
        for edge in edges {
            if let Some((boot, counted)) = self.stand(edge) {
                self.rollout.settled.insert(edge, (ring, boot, counted));
            }
        }
    }

    /// Every item of the ring's feeds is rendered in this version.
    fn ring_rendered(&mut self, ring: Ring, version: i32, now: Millis) {
        let feeds = self
            .regions
            .iter()
            .map(|region| feeds::of_region(region, ring));
        let feeds = feeds.chain([FeedName::GlobalRoutes(ring)]);
        let positions = feeds.map(|feed| (feed.clone(), self.position(&feed)));
        let positions: Positions = positions.collect();
        let row = self.rollout.rings.get_mut(&ring);
        let row = row.filter(|row| row.version == version && row.rendered_at.is_none());
        if let Some(row) = row {
            (row.rendered_at, row.positions) = (Some(now), positions);
        }
    }
}

fn less(now: Counts, counted: Counts) -> Counts {
    Counts {
        requests: now.requests - counted.requests,
        failed: now.failed - counted.failed,
        unrouted: now.unrouted - counted.unrouted,
        items_refused: now.items_refused,
    }
}
