//! A node's report into the columns of observation.

use control_plane::store::rollout::Counts;
use domain::{deployment::machine::Failure, id::NodeId};
use protocol::report::{InstanceReport, Report, RoleReport};
use scheduler::Amount;

use super::{NodeStatus, Status, Tables};
use crate::clock::{Millis, SECOND};

/// After this silence a boot that was thought to be over is believed to live.
const SILENT: Millis = 30 * SECOND;
/// Boots of a node that are known to be over.
const BOOTS: usize = 8;

/// What a report has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    pub capacity: bool,
    pub address: bool,
    pub applied: bool,
    pub instances: bool,
    pub builds: bool,
    /// It runs what the plan does not know.
    pub orphans: bool,
}

impl Tables {
    /// Stores a report; none when a newer one of this boot, or one of a newer boot, is stored already.
    pub fn store_report(&mut self, node: NodeId, report: &Report, now: Millis) -> Option<Noticed> {
        let mut noticed = self.store_status(node, report, now)?;
        noticed.applied = self.store_commits(node, report);
        if let RoleReport::Agent(agent) = &report.role {
            noticed.orphans = self.store_orphans(node, agent);
            noticed.instances = self.store_instances(node, &agent.instances, now);
            noticed.builds = self.store_builds(node, &agent.builds);
            noticed.address |= self.lift_fence(node, agent);
        }
        Some(noticed)
    }

    fn store_status(&mut self, node: NodeId, report: &Report, now: Millis) -> Option<Noticed> {
        let row = self.nodes.get_mut(&node)?;
        let (capacity, address) = match &report.role {
            RoleReport::Agent(agent) => {
                let capacity = Amount {
                    cpu: agent.capacity.cpu,
                    memory: agent.capacity.memory,
                };
                (capacity, agent.address)
            }
            RoleReport::Edge(edge) => (Amount::default(), edge.forward_address),
        };
        let before = row.status.as_ref();
        let is_newer = before.is_none_or(|status| {
            if status.boot_id == report.boot_id {
                status.sequence < report.sequence
            } else {
                !status.previous_boots.contains(&report.boot_id)
                    || status.reported_at + SILENT < now
            }
        });
        if !is_newer {
            return None;
        }
        let noticed = Noticed {
            capacity: before.is_none_or(|s| s.late_since.is_some() || s.capacity != capacity),
            address: before.is_none_or(|s| s.address != address),
            ..Noticed::default()
        };
        let mut previous_boots = before.map_or_else(Vec::new, |s| s.previous_boots.clone());
        if let Some(status) = before.filter(|status| status.boot_id != report.boot_id) {
            previous_boots.insert(0, status.boot_id.clone());
            previous_boots.truncate(BOOTS);
        }
        row.status = Some(NodeStatus {
            boot_id: report.boot_id.clone(),
            previous_boots,
            sequence: report.sequence,
            capacity,
            address,
            reported_at: now,
            late_since: None,
            traffic: traffic(&report.role),
        });
        Some(noticed)
    }

    fn store_commits(&mut self, node: NodeId, report: &Report) -> bool {
        let mut changed = false;
        for commit in &report.feeds {
            let key = (node, commit.feed.clone());
            let held = report.held.get(&commit.feed).copied().unwrap_or_default();
            changed |= self.held_drops.insert(key.clone(), held) != Some(held);
            let before = self.node_feeds.insert(key, commit.position());
            changed |= before != Some(commit.position());
        }
        changed
    }

    /// Only instances that the plan has on this node are touched, and a state never goes back.
    fn store_instances(&mut self, node: NodeId, reports: &[InstanceReport], now: Millis) -> bool {
        let mut changed = false;
        for report in reports {
            let Some(row) = self.instances.get_mut(&report.id) else {
                continue;
            };
            if row.node != node {
                continue;
            }
            if row.status.state > report.state {
                row.status.reported_at = Some(now);
                continue;
            }
            let next = Status {
                reported_at: row.status.reported_at,
                ..status_of(report)
            };
            changed |= next != row.status;
            row.status = Status {
                reported_at: Some(now),
                ..next
            };
        }
        changed
    }
}

fn traffic(role: &RoleReport) -> Counts {
    let RoleReport::Edge(edge) = role else {
        return Counts::default();
    };
    let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
    Counts {
        requests: signed(edge.traffic.requests),
        failed: signed(edge.traffic.failed),
        unrouted: signed(edge.traffic.unrouted),
        items_refused: signed(edge.traffic.items_refused),
    }
}

fn status_of(report: &InstanceReport) -> Status {
    let problem = report.problem.as_ref();
    Status {
        state: report.state,
        ready: report.ready,
        restarts: report.restarts,
        address: report.address,
        digest: report.image_digest.clone(),
        exit_code: report.exit_code,
        problem: problem.map(|problem| Failure::new(&problem.code, problem.message.clone())),
        reported_at: None,
    }
}
