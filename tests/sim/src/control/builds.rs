//! Builds get their agents by the real decision, and its compare-and-set.

use std::collections::BTreeMap;

use control_plane::{
    reconcile::builds::{Action, changes, decide, wants_node},
    store::build::Build,
};
use domain::id::NodeId;
use protocol::report::{BuildState, Report, RoleReport};

use super::{Prepared, deployments::REGISTRY};
use crate::{fault::Fault, table::BuildRow, trace::Note, world::World};

/// A decision about a build that is about to be written.
#[derive(Debug)]
pub struct Order {
    build: Build,
    action: Action,
}

impl World {
    pub(super) fn turn_builds(&mut self, replica: usize) {
        let mut given = BTreeMap::new();
        let open = self.tables.open_builds(self.now);
        for (order, build) in open.into_iter().enumerate() {
            let best = match wants_node(&build) {
                true => self.best_builder(&given),
                false => None,
            };
            let action = decide(&build, best);
            if let Action::Assign(node) = action {
                *given.entry(node).or_default() += 1;
            }
            if action != Action::Wait {
                let decided = Box::new(Order { build, action });
                self.commit_later(replica, order, Prepared::Order(decided));
            }
        }
    }

    /// With what this turn has given away: in production each is written before the next one is looked at.
    fn best_builder(&self, given: &BTreeMap<NodeId, usize>) -> Option<NodeId> {
        let builders = self.tables.builders().into_iter();
        let with_given = builders.map(|(builds, node)| {
            let more = given.get(&node).copied().unwrap_or_default();
            (builds + more, node)
        });
        with_given.min().map(|(_, node)| node)
    }

    pub(super) fn commit_order(&mut self, replica: usize, order: &Order) {
        let Order { build, action } = order;
        let before = self.tables.builds.get(&build.id).cloned();
        let is_as_read = match *action {
            Action::Tell(_) => self.tables.holds_build(build),
            Action::Assign(node) => self.assign(build, node),
            Action::End => {
                self.tables.end_canceled_build(build.id);
                true
            }
            Action::Wait | Action::Forget(_) => true,
        };
        if !is_as_read {
            self.note(Note::Conflict(replica, build.id.to_string()));
            return;
        }
        if let Ok(changes) = changes(build, *action, REGISTRY) {
            self.tables.write_feeds(changes);
        }
        if let Action::Assign(node) = *action {
            let index = self.index_of(node);
            self.note(Note::Given(build.id, index));
            self.checker.given(&self.tables, before.as_ref());
        }
    }

    fn assign(&mut self, read: &Build, node: NodeId) -> bool {
        let row = self.tables.builds.get_mut(&read.id);
        match row.filter(|_| self.fault == Some(Fault::AssignedUncompared)) {
            Some(row) => {
                (row.node, row.state) = (Some(node), BuildState::Waiting);
                true
            }
            None => self.tables.assign_build(read, node),
        }
    }

    /// A report about builds was stored, with this known of them before.
    pub(super) fn heard_of_builds(&mut self, by: NodeId, report: &Report, before: &[BuildRow]) {
        let builds = match &report.role {
            RoleReport::Agent(agent) if !agent.builds.is_empty() => &agent.builds,
            _ => return,
        };
        if self.fault == Some(Fault::OldNodeIsHeard) {
            for report in builds {
                if let Some(row) = self.tables.builds.get_mut(&report.id) {
                    row.enter(&report.state);
                }
            }
        }
        if self.fault != Some(Fault::StrangersKept) {
            self.tables.let_go_of_builds(by, report);
            self.after_commit();
        }
        for before in before {
            if let Some(after) = self.tables.builds.get(&before.id) {
                self.checker.heard(before, after, by);
            }
        }
    }
}
