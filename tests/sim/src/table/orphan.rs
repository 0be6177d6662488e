//! Instances that nodes run on although the plan does not know them: taken back, or let go by somebody.

use std::collections::BTreeMap;

use control_plane::{
    feed::instance::item_id,
    store::orphan::{self, Candidate},
};
use domain::{
    id::{InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::{
    feed::FeedName,
    report::{AgentReport, InstanceReport, StoredItem},
};

use super::{InstanceRow, NewInstance, NodeRow, Tables};
use crate::clock::{MINUTE, Millis, SECOND};

/// So long after an epoch's begin it may not be known what agents run without a plan.
pub const SETTLING: Millis = 2 * MINUTE;

/// What was let go, or is over, and is in no document of its node is not reported as an orphan any more by then.
const ENDS_WITHIN: Millis = orphan::ENDS_WITHIN.as_secs() * SECOND;

/// An orphan.
#[derive(Debug, Clone)]
pub struct OrphanRow {
    pub service: ServiceId,
    /// What its node runs it by, as far as it has said so.
    pub item: Option<StoredItem>,
    pub let_go_at: Option<Millis>,
}

impl Tables {
    /// What a node reports and the plan does not know: the whole of it. Whether something is new.
    pub(super) fn store_orphans(&mut self, node: NodeId, agent: &AgentReport) -> bool {
        let unknown = |report: &&InstanceReport| {
            let known = self.instances.get(&report.id);
            let kept = self.orphans.contains_key(&(node, report.id)) || report.item.is_some();
            let long_over = |at: Millis| report.orphaned && at + ENDS_WITHIN < self.clock;
            let over = |row: &InstanceRow| row.stopped_at.is_some_and(|at| kept || long_over(at));
            report.state < State::Stopped && known.is_none_or(over)
        };
        let reports = agent.instances.iter().filter(unknown);
        let alive: BTreeMap<InstanceId, &InstanceReport> =
            reports.map(|report| (report.id, report)).collect();
        self.orphans
            .retain(|(of, id), _| *of != node || alive.contains_key(id));
        let mut is_new = false;
        for (id, report) in alive {
            is_new |= self.store_orphan(node, id, report);
            if report.item.is_some() || report.orphaned {
                self.tell_again(node, report);
            }
        }
        is_new
    }

    /// It was let go and its node keeps it although it has read so: in an epoch's first document, which ends nothing. What no
    /// document of the node ever had may be on its way out for a while.
    fn tell_again(&mut self, node: NodeId, report: &InstanceReport) {
        let (id, is_kept) = (report.id, report.item.is_some());
        let (feed, epoch) = (FeedName::Node(node), self.platform.epoch);
        let gone = self.feeds.get(&feed).and_then(|row| row.gone(&item_id(id)));
        let applied = self.node_feeds.get(&(node, feed));
        let applied = applied.filter(|applied| applied.epoch == epoch);
        let (Some((generation, at)), Some(applied)) = (gone, applied) else {
            return;
        };
        let row = self.orphans.get_mut(&(node, id));
        if let Some(let_go_at) = row.and_then(|row| row.let_go_at.as_mut())
            && at >= *let_go_at
            && (is_kept || at + ENDS_WITHIN < self.clock)
            && generation <= applied.generation.0
        {
            *let_go_at = self.clock;
        }
    }

    fn store_orphan(&mut self, node: NodeId, id: InstanceId, report: &InstanceReport) -> bool {
        let Some(row) = self.orphans.get_mut(&(node, id)) else {
            let row = OrphanRow {
                service: report.service_id,
                item: report.item.clone(),
                // What is over is nobody's to take back.
                let_go_at: self.instances.contains_key(&id).then_some(self.clock),
            };
            self.orphans.insert((node, id), row);
            return true;
        };
        let says_more = report.item.is_some() && row.item != report.item;
        if says_more {
            row.item.clone_from(&report.item);
        }
        says_more
    }

    /// Services that the scheduler has to look at for what a node runs without a plan.
    #[must_use]
    pub fn services_of_orphans(&self, node: NodeId) -> Vec<ServiceId> {
        let of_node = self.orphans.iter().filter(|((of, _), _)| *of == node);
        let mut services: Vec<_> = of_node.map(|(_, row)| row.service).collect();
        services.retain(|service| self.services.contains_key(service));
        services.sort_unstable();
        services.dedup();
        services
    }

    /// The orphans of a service that nobody has let go, on nodes that are still ours.
    #[must_use]
    pub fn candidates(&self, service: ServiceId) -> Vec<Candidate> {
        let kept = |row: &OrphanRow| row.service == service && row.let_go_at.is_none();
        let kept = self.orphans.iter().filter(|(_, row)| kept(row));
        let mut all: Vec<Candidate> = kept
            .filter_map(|((node, instance), row)| {
                let node = self.nodes.get(node).filter(|node| !node.fenced)?;
                Some(Candidate {
                    instance: *instance,
                    node: node.id,
                    region: node.region.to_string(),
                    item: row.item.clone(),
                })
            })
            .collect();
        all.sort_unstable_by_key(|candidate| candidate.instance);
        all
    }

    /// Makes an instance of an orphan. What it reserves counts whether there is room or not: it runs already.
    pub fn take_back(&mut self, orphan: NewInstance) -> bool {
        if self.instances.contains_key(&orphan.id) {
            return false;
        }
        let Some(node) = self.nodes.get_mut(&orphan.node) else {
            return false;
        };
        node.reserved = node.reserved.plus(orphan.amount);
        let row = InstanceRow::new(orphan, node.region.clone());
        self.instances.insert(orphan.id, row);
        self.orphans.retain(|(_, id), _| *id != orphan.id);
        true
    }

    /// An operator lets one go; false when there is none.
    pub fn let_go(&mut self, instance: InstanceId) -> bool {
        self.let_go_where(|id, _| id == instance)
    }

    /// None of a service's orphans is needed: another deployment of it serves, or it is deleted.
    pub fn let_go_of_service(&mut self, service: ServiceId) {
        self.let_go_where(|_, row| row.service == service);
    }

    fn let_go_where(&mut self, is_meant: impl Fn(InstanceId, &OrphanRow) -> bool) -> bool {
        let mut any = false;
        for ((_, id), row) in &mut self.orphans {
            if is_meant(*id, row) {
                row.let_go_at.get_or_insert(self.clock);
                any = true;
            }
        }
        any
    }

    /// Those that were let go and whose nodes were not told yet.
    #[must_use]
    pub fn orphans_going(&self) -> Vec<(NodeId, InstanceId)> {
        let is_told = |node: NodeId, id: InstanceId, since: Millis| {
            let feed = self.feeds.get(&FeedName::Node(node));
            let gone = feed.and_then(|feed| feed.gone(&item_id(id)));
            gone.is_some_and(|(_, at)| at >= since)
        };
        let rows = self.orphans.iter();
        rows.filter(|((node, id), row)| {
            row.let_go_at
                .is_some_and(|since| !is_told(*node, *id, since))
        })
        .map(|(key, _)| *key)
        .collect()
    }

    /// The orphans of a service.
    #[must_use]
    pub fn orphans_of(&self, service: ServiceId) -> Vec<(NodeId, InstanceId)> {
        let of_service = self
            .orphans
            .iter()
            .filter(|(_, row)| row.service == service);
        of_service.map(|(key, _)| *key).collect()
    }

    /// Whether it is open yet which history counts, or an agent that is there has not applied the epoch's first
    /// document: until then, and for two minutes at most, it is not known what it runs without a plan.
    pub fn is_settling(&mut self, now: Millis) -> bool {
        self.follow_timeline();
        let is_behind = |node: &NodeRow| {
            let applied = self.node_feeds.get(&(node.id, FeedName::Node(node.id)));
            applied.is_some_and(|applied| applied.epoch < self.platform.epoch)
        };
        let mut nodes = self.nodes.values();
        let is_new = self.platform.epoch_since + SETTLING > now;
        let mut are_behind =
            || nodes.any(|node| !node.is_edge && !node.is_late() && is_behind(node));
        self.platform.shown.is_some() || is_new && are_behind()
    }
}
