//! Builds in the model; and what a model that keeps them otherwise would be found by.

use std::panic::{AssertUnwindSafe, catch_unwind};

use control_plane::store::build::Build;
use domain::{
    generation::Position,
    id::{BuildId, DeploymentId, NodeId},
};
use protocol::{
    feed::FeedName,
    item::BuildSource,
    report::{BuildState, Report, RoleReport},
};
use sim::table::NodeRow;
use testkit::compare_and_set::{
    agent_report, applied, building,
    builds::{Builds, Stand, suite},
};

use super::Model;

/// How a model could keep builds otherwise than PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Who stood still gives a build away again.
    GivenAgain,
    /// A build's node is told of it although it is elsewhere.
    HeldElsewhere,
    /// A build's node is told to make what is canceled.
    HeldCanceled,
    /// Whoever makes an image is heard.
    AnyoneHeard,
    /// What another history has canceled is canceled.
    OtherHistoryHeard,
    /// What has ended can end otherwise.
    EndedAgain,
    /// What nobody canceled is ended as canceled.
    EndedUncanceled,
    /// What has ended is forgotten before its node may forget it.
    ForgottenEarly,
    /// A late node is lost.
    LateIsLost,
    /// A node that is declared dead is only late.
    DeadIsLate,
    /// Any agent gets the next one.
    ManyFirst,
    /// A node makes on what its document lacks.
    StrangersKept,
}

const MISTAKES: [Mistake; 12] = [
    Mistake::GivenAgain,
    Mistake::HeldElsewhere,
    Mistake::HeldCanceled,
    Mistake::AnyoneHeard,
    Mistake::OtherHistoryHeard,
    Mistake::EndedAgain,
    Mistake::EndedUncanceled,
    Mistake::ForgottenEarly,
    Mistake::LateIsLost,
    Mistake::DeadIsLate,
    Mistake::ManyFirst,
    Mistake::StrangersKept,
];

#[test]
fn a_model_that_keeps_builds_otherwise_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let passes = |mistake| {
        let mut model = Model::new();
        model.build_mistake = mistake;
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(suite(&mut model)))).is_ok()
    };
    assert!(passes(None));
    for mistake in MISTAKES {
        assert!(!passes(Some(mistake)), "{mistake:?}");
    }
}

impl Model {
    fn makes(&self, mistake: Mistake) -> bool {
        self.build_mistake == Some(mistake)
    }

    fn now_at(&self, id: BuildId) -> Option<NodeId> {
        self.tables.builds[&id].node
    }

    fn building(&self, node: NodeId, sequence: u64, builds: &[(BuildId, BuildState)]) -> Report {
        building(
            agent_report("first", sequence, self.rooms[&node], &[]),
            builds,
        )
    }

    fn hear(&mut self, node: NodeId, report: &Report) {
        assert!(self.store(node, report));
        if !self.makes(Mistake::StrangersKept) {
            self.tables.let_go_of_builds(node, report);
        }
        let RoleReport::Agent(agent) = &report.role else {
            return;
        };
        for build in &agent.builds {
            let anyone = self.makes(Mistake::AnyoneHeard);
            let canceled = self.makes(Mistake::OtherHistoryHeard);
            let again = self.makes(Mistake::EndedAgain);
            let Some(row) = self.tables.builds.get_mut(&build.id) else {
                continue;
            };
            let is_its_own = row.node == Some(node);
            if anyone || canceled && is_its_own {
                row.enter(&build.state);
            }
            if again && is_its_own {
                row.state.clone_from(&build.state);
            }
        }
    }
}

impl Builds for Model {
    type Read = Build;

    async fn start_build(&mut self, deployment: DeploymentId) -> BuildId {
        let id = BuildId::new();
        let source = BuildSource::Git {
            repo: "https://git.example.com/a.git".into(),
            reference: None,
            deploy_key: None,
        };
        self.tables.insert_build(id, deployment, source);
        id
    }

    async fn read_build(&mut self, id: BuildId) -> Option<Build> {
        let open = self.tables.open_builds(self.now).into_iter();
        let forgets = self.makes(Mistake::ForgottenEarly);
        let mut open = open.filter(|build| !(forgets && build.finished));
        let mut build = open.find(|build| build.id == id)?;
        let node = build.node.map(|node| &self.tables.nodes[&node]);
        match self.build_mistake {
            Some(Mistake::LateIsLost) => build.node_lost |= node.is_some_and(NodeRow::is_late),
            Some(Mistake::DeadIsLate) => {
                build.node_lost = node.is_some_and(|node| self.tables.is_lost(node, self.now));
            }
            _ => {}
        }
        Some(build)
    }

    fn stand(read: &Build) -> Stand {
        Stand {
            node: read.node,
            node_lost: read.node_lost,
            canceled: read.canceled,
            finished: read.finished,
        }
    }

    async fn assign(&mut self, read: &Build, node: NodeId) -> bool {
        let mut read = read.clone();
        if self.makes(Mistake::GivenAgain) {
            read.node = self.now_at(read.id);
        }
        self.tables.assign_build(&read, node)
    }

    async fn hold(&mut self, read: &Build) -> bool {
        let mut read = read.clone();
        if self.makes(Mistake::HeldElsewhere) {
            read.node = self.now_at(read.id);
        }
        if self.makes(Mistake::HeldCanceled) {
            read.canceled = self.tables.builds[&read.id].canceled;
        }
        self.tables.holds_build(&read)
    }

    async fn end_canceled(&mut self, id: BuildId) {
        if self.makes(Mistake::EndedUncanceled) {
            self.tables.builds.get_mut(&id).unwrap().canceled = true;
        }
        self.tables.end_canceled_build(id);
    }

    async fn builders(&mut self) -> Vec<NodeId> {
        let builders = self.tables.builders().into_iter().map(|(_, node)| node);
        let mut builders: Vec<NodeId> = builders.collect();
        if self.makes(Mistake::ManyFirst) {
            builders.reverse();
        }
        builders
    }

    async fn report_builds(
        &mut self,
        node: NodeId,
        sequence: u64,
        builds: &[(BuildId, BuildState)],
    ) {
        let report = self.building(node, sequence, builds);
        self.hear(node, &report);
    }

    async fn report_builds_at(
        &mut self,
        node: NodeId,
        sequence: u64,
        at: Position,
        builds: &[(BuildId, BuildState)],
    ) {
        let report = self.building(node, sequence, builds);
        self.hear(node, &applied(report, FeedName::Node(node), at));
    }

    async fn result(&mut self, id: DeploymentId) -> Option<Result<String, String>> {
        let build = self.tables.deployment_build(id)?;
        let problem = build.problem.map(|problem| problem.code);
        let ended = build.finished.then_some(build.digest)?;
        Some(ended.ok_or_else(|| problem.unwrap_or_default()))
    }
}
