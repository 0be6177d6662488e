//! What must hold of a rollout, from what edges have and not from what is written about them.

use std::collections::BTreeMap;

use control_plane::{
    feed::route::RENDERING,
    store::rollout::{Progress, Rollout},
};
use domain::{id::ServiceId, name::Name, ring::Ring};
use protocol::item::{RegionRouteItem, ServiceItem};

use super::{Checker, Invariant};
use crate::{clock::Millis, rendering::Quality};

/// What edges have of which version.
#[derive(Debug, Default)]
pub(super) struct Renderings {
    /// The version of each ring, and since when.
    rings: BTreeMap<Ring, (i32, Millis)>,
    /// Which version an edge had all of last, and since when.
    edges: BTreeMap<usize, (i32, Millis)>,
    /// When an edge's process has started.
    started: BTreeMap<usize, Millis>,
    /// The ring of each edge.
    members: BTreeMap<usize, Ring>,
    /// What services had in regions when they began to leave them, in any version.
    left: BTreeMap<(Name, ServiceId), Vec<ServiceItem>>,
}

impl Renderings {
    fn of(&self, ring: Ring) -> impl Iterator<Item = usize> {
        let members = self.members.iter();
        members.filter_map(move |(edge, of)| (*of == ring).then_some(*edge))
    }

    /// The edges of a ring have had all of this version for so long: one process of them at least, and none that
    /// is there has another.
    fn have_served(&self, ring: Ring, version: i32, until: Millis, is_there: &[usize]) -> bool {
        let since = |edge: usize| {
            let (of, since) = self.edges.get(&edge)?;
            let started = self.started.get(&edge).copied();
            (*of == version).then_some(started.unwrap_or_default().max(*since))
        };
        let mut present = self.of(ring).filter(|edge| is_there.contains(edge));
        let all = present.all(|edge| since(edge).is_some());
        let mut any = self.of(ring).filter_map(since);
        all && any.any(|since| since <= until)
    }
}

impl Checker {
    /// An edge is of this ring.
    pub fn member(&mut self, edge: usize, ring: Ring) {
        self.renderings.members.insert(edge, ring);
    }

    /// A service leaves this region: what it has there is not rendered anew, it goes when it is released.
    pub fn leaves(&mut self, region: &Name, item: RegionRouteItem) {
        if let RegionRouteItem::Service(item) = item {
            let key = (region.clone(), item.service_id);
            let left = self.renderings.left.entry(key).or_default();
            if !left.contains(&item) {
                left.push(item);
            }
        }
    }

    /// Whether this is what a service had when it left the region. What it has there after a return is not.
    #[must_use]
    pub fn is_left(&self, region: &Name, item: &RegionRouteItem) -> bool {
        let RegionRouteItem::Service(item) = item else {
            return false;
        };
        let left = &self.renderings.left;
        let left = left.get(&(region.clone(), item.service_id));
        left.is_some_and(|left| left.contains(item))
    }

    /// A step was taken: the rings are at these versions from now on.
    pub fn rings_are_at(&mut self, rings: BTreeMap<Ring, i32>, rollout: &Rollout) {
        let now = self.now;
        for (ring, version) in rings {
            let before = self.renderings.rings.entry(ring);
            let before = before.or_insert((RENDERING.version, 0));
            if before.0 == version {
                continue;
            }
            *before = (version, now);
            if version == rollout.version
                && rollout.state != Progress::Running
                && self.disaster.is_none()
            {
                let what = format!("{ring} is given version {version}, which was stopped");
                self.broken(Invariant::Ring, what);
            }
        }
    }

    /// An edge's process has started: what was served by until then was another one's.
    pub fn edge_started(&mut self, edge: usize) {
        self.renderings.started.insert(edge, self.now);
    }

    /// It is to be a ring's turn: the rings before have served long enough. `is_there`: edges that are not late.
    pub fn turn_of(&mut self, ring: Ring, version: i32, is_there: &[usize], soak: Millis) {
        let Some(until) = self.now.checked_sub(soak) else {
            return;
        };
        let before = Ring::ORDER.into_iter().filter(|other| *other < ring);
        let before = before.filter(|other| self.renderings.of(*other).next().is_some());
        let early: Vec<Ring> = before
            .filter(|other| {
                !self
                    .renderings
                    .have_served(*other, version, until, is_there)
            })
            .collect();
        if let Some(early) = early.first()
            && self.disaster().is_none()
        {
            let what =
                format!("{ring} is to get version {version}, which {early} has not served by");
            self.broken(Invariant::Ring, what);
        }
    }

    /// An edge works by routes whose items are of the versions from `oldest` to `newest`. `is_all`: nothing of them is
    /// still to come, as after the loss of its disk.
    pub fn works_by(&mut self, edge: usize, (oldest, newest): (i32, i32), is_all: bool) {
        let now = self.now;
        let Some(ring) = self.renderings.members.get(&edge).copied() else {
            return;
        };
        let first = self.renderings.members.values().min().copied();
        if Quality::of(newest) != Quality::Good && Some(ring) != first {
            let what = format!("edge {edge} of {ring} has version {newest}, which nobody can use");
            self.broken(Invariant::BadRendering, what);
        }
        let (leads, since) = self
            .renderings
            .rings
            .get(&ring)
            .copied()
            .unwrap_or_default();
        let had = self.renderings.edges.get(&edge).copied();
        let had_all = had.is_some_and(|(version, at)| version == leads && at >= since);
        if had_all && oldest < leads && self.disaster().is_none() {
            let what =
                format!("edge {edge} of {ring} has items of version {oldest} again, not {leads}");
            self.broken(Invariant::Rendering, what);
        }
        if is_all && oldest == newest && had.is_none_or(|(version, _)| version != newest) {
            self.renderings.edges.insert(edge, (newest, now));
        }
    }
}
