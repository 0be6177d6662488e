//! Brings a newer program's rendering to one ring of edges after the other: the real decision, then its writes.

use control_plane::{
    reconcile::rollout::{Action, View, decide},
    store::rollout::Progress,
};
use domain::{quantity::Span, ring::Ring};

use super::Prepared;
use crate::{
    chaos::Blow,
    clock::{Millis, SECOND},
    fault::Fault,
    rendering::Quality,
    trace::Note,
    world::{Event, World},
};

/// So long a ring's edges serve well before the next ring's turn. Shorter than the real one: histories are short.
pub const SOAK: Millis = 10 * SECOND;

/// A step of a rollout that is about to be written.
#[derive(Debug)]
pub struct RolloutStep {
    seen: View,
    action: Action,
}

impl World {
    pub(super) fn turn_rollout(&mut self, replica: usize) {
        self.tables.follow_timeline();
        // It is open which history counts.
        if self.tables.platform.shown.is_some() {
            return;
        }
        let newest = self.replicas[replica].version;
        let mut seen = self.tables.rollout_view(newest, SOAK, self.now);
        self.mistake_in_rollout(&mut seen);
        for (order, action) in decide(&seen).into_iter().enumerate() {
            match &action {
                Action::Advance(ring) => self.check_turn_of(*ring, &seen),
                Action::Render(_) => self.render_all(),
                _ => {}
            }
            let seen = seen.clone();
            let step = RolloutStep { seen, action };
            self.commit_later(replica, order, Prepared::Rollout(Box::new(step)));
        }
    }

    fn check_turn_of(&mut self, ring: Ring, seen: &View) {
        let edges = seen.rings.iter().flat_map(|ring| &ring.edges);
        let present = edges.filter(|edge| !edge.late);
        let present: Vec<usize> = present.map(|edge| self.index_of(edge.node)).collect();
        let version = seen.rollout.version;
        self.checker.turn_of(ring, version, &present, SOAK);
    }

    /// What a planted mistake makes of what there is to see.
    fn mistake_in_rollout(&self, seen: &mut View) {
        match self.fault {
            Some(Fault::SoakNotWaited) => seen.soak = Span::seconds(0),
            Some(Fault::RolloutUnacknowledged) => {
                let edges = seen.rings.iter_mut().flat_map(|ring| &mut ring.edges);
                edges.for_each(|edge| edge.applied = true);
            }
            Some(Fault::RestartsUnseen) => {
                let edges = seen.rings.iter_mut().flat_map(|ring| &mut ring.edges);
                edges.for_each(|edge| edge.restarted = false);
            }
            _ => {}
        }
    }

    /// Writes every item in the version that its ring is at.
    fn render_all(&mut self) {
        self.turn_platform_routes();
        for service in self.tables.routed_services() {
            self.write_routes(service);
        }
    }

    pub(super) fn commit_rollout(&mut self, replica: usize, step: &RolloutStep) {
        let RolloutStep { seen, action } = step;
        let compares = self.fault != Some(Fault::StepNotCompared);
        if compares && !self.tables.rollout_is_still(seen) {
            self.note(Note::Conflict(replica, format!("{action:?}")));
            return;
        }
        self.note(Note::Rollout(seen.newest, format!("{action:?}")));
        let mut seen = seen.clone();
        if self.fault == Some(Fault::UnfinishedStays) {
            seen.rollout.state = Progress::Done;
        }
        self.tables.take_step(&seen, action, self.now);
        let (rings, rollout) = (&self.tables.rollout.rings, &self.tables.rollout.newest);
        let versions = rings.iter().map(|(ring, row)| (*ring, row.version));
        self.checker.rings_are_at(versions.collect(), rollout);
        match action {
            Action::Stop(_) => {
                self.stopped += 1;
                let looks = self.random.between(SECOND, 60 * SECOND);
                self.after(looks, Event::Blow(Blow::Resume));
            }
            Action::Finish => self.finished += 1,
            _ => {}
        }
    }

    /// An operator has looked at the edge that a rollout was stopped for, and mostly sees whether the version is
    /// to blame.
    pub(crate) fn resume_rollout(&mut self) {
        let newest = &self.tables.rollout.newest;
        let (version, stopped) = (newest.version, newest.state == Progress::Stopped);
        let is_good = Quality::of(version) == Quality::Good;
        if !stopped || !is_good && (self.healed.is_some() || !self.random.chance(200)) {
            return;
        }
        if !self.database.up {
            self.after(SECOND, Event::Blow(Blow::Resume));
            return;
        }
        self.note(Note::Intent(format!("version {version} is resumed")));
        self.tables.rollout.resume(self.now);
    }
}
