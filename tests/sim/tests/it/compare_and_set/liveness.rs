//! Nodes' silence in the model; and what a model that keeps it otherwise would be found by.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use control_plane::store::liveness::GAP;
use domain::{
    generation::Position,
    id::{InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::feed::FeedName;
use scheduler::Liveness;
use sim::clock::{Millis, SECOND};
use testkit::compare_and_set::{
    agent_report, applied,
    liveness::{LATE_AFTER, Nodes, suite},
};

use super::Model;

/// How a model could keep nodes' silence otherwise than PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A pause in listening counts like any other time.
    PauseUnseen,
    /// After a pause time counts anew, but not for twice as long.
    OnceAsLong,
    /// A node that was late before a pause is not spared.
    LateUnspared,
    /// A node that was lost before a pause counts as one that was late.
    LostSpared,
    /// Time counts while it is not known which database is the true one.
    Unguarded,
    /// A node that reports again stays late.
    LateForEver,
    /// Late nodes' services are looked at as if they were lost.
    LateDisturbs,
    /// A node that reports can be declared dead.
    FencedAlive,
    /// A fenced node is let in with its first report.
    FenceForgotten,
}

const MISTAKES: [Mistake; 9] = [
    Mistake::PauseUnseen,
    Mistake::OnceAsLong,
    Mistake::LateUnspared,
    Mistake::LostSpared,
    Mistake::Unguarded,
    Mistake::LateForEver,
    Mistake::LateDisturbs,
    Mistake::FencedAlive,
    Mistake::FenceForgotten,
];

#[test]
fn a_model_that_keeps_silence_otherwise_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let passes = |mistake| {
        let mut model = Model::new();
        model.mistake = mistake;
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(suite(&mut model)))).is_ok()
    };
    assert!(passes(None));
    for mistake in MISTAKES {
        assert!(!passes(Some(mistake)), "{mistake:?}");
    }
}

fn millis(time: Duration) -> Millis {
    time.as_millis().try_into().unwrap()
}

impl Model {
    fn late_since(&self) -> Vec<(NodeId, Option<Millis>)> {
        let nodes = self.tables.nodes.values();
        nodes
            .filter_map(|node| Some((node.id, node.status.as_ref()?.late_since)))
            .collect()
    }

    fn set_late_since(&mut self, node: NodeId, since: Option<Millis>) {
        let row = self.tables.nodes.get_mut(&node).unwrap();
        row.status.as_mut().unwrap().late_since = since;
    }

    /// What a mistake makes of a turn that has gone right.
    fn mistake_after(&mut self, before: Vec<(NodeId, Option<Millis>)>, now: Millis) {
        let platform = &mut self.tables.platform;
        let had_a_pause = platform.listening_since == now && platform.shown.is_none();
        match self.mistake {
            Some(Mistake::OnceAsLong) if had_a_pause => {
                platform.listening_since -= millis(LATE_AFTER);
            }
            Some(Mistake::LateUnspared) => {
                for (node, since) in before.into_iter().filter(|(_, since)| since.is_some()) {
                    self.set_late_since(node, since);
                }
            }
            Some(Mistake::LostSpared) if had_a_pause => {
                for (node, _) in before.into_iter().filter(|(_, since)| since.is_some()) {
                    self.set_late_since(node, Some(now));
                }
            }
            _ => {}
        }
    }

    /// Forgets what a report has changed that a mistake leaves as it was.
    fn mistake_in_report(&mut self, node: NodeId, late: Option<Millis>) {
        match self.mistake {
            Some(Mistake::LateForEver) => self.set_late_since(node, late),
            Some(Mistake::FenceForgotten) => {
                self.tables.nodes.get_mut(&node).unwrap().fenced = false;
            }
            _ => {}
        }
    }

    /// Stores a report, with the mistake about it.
    pub(super) fn store(&mut self, node: NodeId, report: &protocol::report::Report) -> bool {
        let late = self.tables.nodes[&node].status.as_ref();
        let late = late.and_then(|status| status.late_since);
        let now = self.tick();
        let stored = self.tables.store_report(node, report, now).is_some();
        self.mistake_in_report(node, late);
        stored
    }
}

impl Nodes for Model {
    async fn pass(&mut self, time: Duration) {
        self.now += millis(time);
        self.tables.clock = self.now;
    }

    async fn look(&mut self) {
        let (now, before) = (self.tick(), self.late_since());
        let gap = match self.mistake {
            Some(Mistake::PauseUnseen) => 24 * 3_600 * SECOND,
            _ => millis(GAP),
        };
        let unguarded = self.mistake == Some(Mistake::Unguarded);
        let shown = unguarded.then(|| self.tables.platform.shown.take());
        self.tables.listen(gap, now);
        self.tables.mark_late(millis(LATE_AFTER), now);
        if let Some(shown) = shown {
            self.tables.platform.shown = shown;
        }
        self.mistake_after(before, now);
    }

    async fn liveness(&mut self, node: NodeId) -> Liveness {
        let nodes = self.tables.scheduler_nodes(self.now);
        nodes.iter().find(|n| n.id == node).unwrap().liveness
    }

    async fn is_disturbed(&mut self, service: ServiceId) -> bool {
        let late_is_lost = match self.mistake {
            Some(Mistake::LateDisturbs) => 75 * SECOND,
            _ => 0,
        };
        let disturbed = self.tables.disturbed(self.now + late_is_lost);
        disturbed.contains(&service)
    }

    async fn fence(&mut self, node: NodeId) -> bool {
        if self.mistake == Some(Mistake::FencedAlive) {
            self.set_late_since(node, Some(self.now));
        }
        self.tables.fence(node)
    }

    async fn stop_fenced(&mut self) -> Vec<InstanceId> {
        let lost = self.tables.stop_fenced().into_iter();
        lost.map(|(_, instance)| instance).collect()
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
        assert!(self.store(node, &report));
    }
}
