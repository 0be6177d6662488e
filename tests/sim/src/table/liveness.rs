//! Which nodes can be counted on, judged only by time in which some replica could store reports.

use std::collections::BTreeMap;

use domain::{
    id::{DeploymentId, ServiceId},
    instance::State,
    name::Name,
};

use super::{InstanceRow, NodeRow, Tables};
use crate::clock::{Millis, SECOND};

/// Silent for this much longer than it takes to be late, a node is lost.
pub const LOST_AFTER_LATE: Millis = 75 * SECOND;

impl Tables {
    /// Says that some replica could store reports just now. While the epoch guard refuses them nobody
    /// listens. After a gap the time counts anew, also for nodes that were late and not lost yet.
    pub fn listen(&mut self, gap: Millis, now: Millis) {
        let platform = &mut self.platform;
        if platform.shown.is_some() {
            return;
        }
        let began = std::mem::replace(&mut platform.listened_at, now);
        if began + gap >= now {
            return;
        }
        platform.listening_since = now;
        let statuses = self.nodes.values_mut().filter_map(|n| n.status.as_mut());
        for status in statuses {
            let spared = |since: Millis| since + LOST_AFTER_LATE > began;
            if status.late_since.is_some_and(spared) {
                status.late_since = Some(now);
            }
        }
    }

    /// Marks nodes that have been silent for `after`, or for twice as long since we listen again.
    pub fn mark_late(&mut self, after: Millis, now: Millis) {
        if self.platform.shown.is_some() {
            return;
        }
        let since = self.platform.listening_since;
        let statuses = self.nodes.values_mut().filter_map(|n| n.status.as_mut());
        for status in statuses.filter(|status| status.late_since.is_none()) {
            let due = if since > status.reported_at {
                since + 2 * after
            } else {
                status.reported_at + after
            };
            if now > due {
                status.late_since = Some(now);
            }
        }
    }

    /// Services that the scheduler has to look at because of their nodes or their instances' ends.
    #[must_use]
    pub fn disturbed(&self, now: Millis) -> Vec<ServiceId> {
        let troubled = |node: &NodeRow| node.draining || self.is_lost(node, now);
        let mut services: Vec<ServiceId> = self
            .instances
            .values()
            .filter(|row| !row.stopped() && row.stop_cause.is_none())
            .filter(|row| {
                let node = self.nodes.get(&row.node);
                let is_over = row.status.state == State::Stopped;
                is_over || node.is_some_and(troubled)
            })
            .map(|row| row.service)
            .chain(self.crowded())
            .collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// Services with more instances in a region than are wanted.
    fn crowded(&self) -> Vec<ServiceId> {
        let mut counts: BTreeMap<_, u32> = BTreeMap::new();
        let stays = |row: &&InstanceRow| !row.stopped() && row.stop_cause.is_none();
        for row in self.instances.values().filter(stays) {
            let key = (row.service, row.deployment, &row.region);
            *counts.entry(key).or_default() += 1;
        }
        let crowded = |((service, _, region), count): &((ServiceId, DeploymentId, &Name), u32)| {
            let Some(row) = self.services.get(service) else {
                return false;
            };
            let regions = &row.spec.scale.regions;
            let wanted = if regions.is_empty() {
                1
            } else {
                regions.get(*region).copied().unwrap_or_default()
            };
            *count > wanted
        };
        let crowded = counts.into_iter().filter(crowded);
        crowded.map(|((service, ..), _)| service).collect()
    }
}

impl Tables {
    /// Silent for 2 min in which somebody listened.
    #[must_use]
    pub fn is_lost(&self, node: &NodeRow, now: Millis) -> bool {
        let since = node.status.as_ref().and_then(|status| status.late_since);
        let is_over = since.is_some_and(|since| since + LOST_AFTER_LATE < now);
        is_over && self.platform.shown.is_none()
    }
}

impl NodeRow {
    /// Silent for 45 s.
    #[must_use]
    pub fn is_late(&self) -> bool {
        let late = |status: &super::NodeStatus| status.late_since.is_some();
        self.status.as_ref().is_none_or(late)
    }
}
