//! Builds: one node has each, and only its word counts.

use control_plane::{
    feed::{build::item_id, route::Changes},
    store::{build::Build, deployment, feed::Change},
};
use domain::{
    deployment::machine::Failure,
    id::{BuildId, DeploymentId, NodeId, ServiceId},
};
use protocol::{
    feed::{DropCause, FeedName},
    item::BuildSource,
    report::{BUILD_CANCELED, BuildReport, BuildState, Problem, Report, RoleReport},
};

use super::Tables;
use crate::clock::Millis;

/// A build.
#[derive(Debug, Clone)]
pub struct BuildRow {
    pub id: BuildId,
    pub service: ServiceId,
    pub deployment: DeploymentId,
    pub source: BuildSource,
    /// Its image is not wanted any more.
    pub canceled: bool,
    pub node: Option<NodeId>,
    /// As its node has said last.
    pub state: BuildState,
}

impl BuildRow {
    /// Whether nothing more happens to it.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(
            self.state,
            BuildState::Succeeded(_) | BuildState::Failed { .. }
        )
    }

    /// Of the image that it has made.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        match &self.state {
            BuildState::Succeeded(result) => Some(&result.digest),
            _ => None,
        }
    }

    /// It is in another state, unless it has ended; whether that is new.
    pub fn enter(&mut self, state: &BuildState) -> bool {
        let changed = !self.is_finished() && self.state != *state;
        if changed {
            self.state.clone_from(state);
        }
        changed
    }
}

impl Tables {
    /// Makes a deployment's build.
    pub fn insert_build(&mut self, id: BuildId, deployment: DeploymentId, source: BuildSource) {
        let Some(of) = self.deployments.get(&deployment) else {
            return;
        };
        let row = BuildRow {
            id,
            service: of.service,
            deployment,
            source,
            canceled: false,
            node: None,
            state: BuildState::Waiting,
        };
        self.builds.insert(id, row);
    }

    /// Builds that have not ended, and ended ones that their node's feed still has, oldest first.
    #[must_use]
    pub fn open_builds(&self, now: Millis) -> Vec<Build> {
        let known = |row: &&BuildRow| !row.is_finished() || self.is_told(row);
        let open = self.builds.values().filter(known);
        open.filter_map(|row| self.build_of(row, now)).collect()
    }

    fn is_told(&self, row: &BuildRow) -> bool {
        let feed = row
            .node
            .and_then(|node| self.feeds.get(&FeedName::Node(node)));
        feed.is_some_and(|feed| feed.document.get(&item_id(row.id)).is_some())
    }

    fn build_of(&self, row: &BuildRow, now: Millis) -> Option<Build> {
        let node = row.node.and_then(|node| self.nodes.get(&node));
        Some(Build {
            id: row.id,
            organization: self.tenant.organization,
            service: row.service,
            deployment: row.deployment,
            source: row.source.clone(),
            root: "/".to_owned(),
            spec: self.deployments.get(&row.deployment)?.spec.clone(),
            canceled: row.canceled,
            finished: row.is_finished(),
            node: row.node,
            node_lost: node.is_some_and(|node| node.fenced || self.is_lost(node, now)),
            traceparent: None,
        })
    }

    /// How many unfinished builds each punctual agent has, fewest first.
    #[must_use]
    pub fn builders(&self) -> Vec<(usize, NodeId)> {
        let has = |node: NodeId| {
            let of_node = self.builds.values().filter(|row| row.node == Some(node));
            of_node.filter(|row| !row.is_finished()).count()
        };
        let agents = self.nodes.values().filter(|node| !node.is_edge);
        let mut builders: Vec<(usize, NodeId)> = agents
            .filter(|node| node.schedulable && !node.draining && !node.is_late())
            .map(|node| (has(node.id), node.id))
            .collect();
        builders.sort_unstable();
        builders
    }

    /// Gives the build to a node, if it still is where it was.
    pub fn assign_build(&mut self, read: &Build, node: NodeId) -> bool {
        let here = |row: &&mut BuildRow| row.node == read.node && !row.is_finished();
        let Some(row) = self.builds.get_mut(&read.id).filter(here) else {
            return false;
        };
        (row.node, row.state) = (Some(node), BuildState::Waiting);
        true
    }

    /// Whether the build still is where it was, and goes on.
    #[must_use]
    pub fn holds_build(&self, read: &Build) -> bool {
        self.builds.get(&read.id).is_some_and(|row| {
            row.node == read.node && row.canceled == read.canceled && !row.is_finished()
        })
    }

    /// The image for a deployment is not wanted any more.
    pub(super) fn cancel_builds(&mut self, of: DeploymentId) {
        let rows = self.builds.values_mut().filter(|row| row.deployment == of);
        rows.filter(|row| !row.is_finished())
            .for_each(|row| row.canceled = true);
    }

    /// Ends a canceled build that no node will report on.
    pub fn end_canceled_build(&mut self, id: BuildId) {
        let row = self.builds.get_mut(&id).filter(|row| row.canceled);
        if let Some(row) = row {
            row.enter(&BuildState::Failed {
                problem: Problem {
                    code: "canceled".to_owned(),
                    message: "canceled before it began".to_owned(),
                },
            });
        }
    }

    /// A deployment's build as its reconciler sees it.
    #[must_use]
    pub fn deployment_build(&self, id: DeploymentId) -> Option<deployment::Build> {
        let row = self.newest_build(id)?;
        let problem = match &row.state {
            BuildState::Failed { problem } => {
                Some(Failure::new(&problem.code, problem.message.clone()))
            }
            _ => None,
        };
        Some(deployment::Build {
            id: row.id,
            finished: row.is_finished(),
            digest: row.digest().map(ToOwned::to_owned),
            problem,
        })
    }

    /// The newest build of a deployment.
    #[must_use]
    pub fn newest_build(&self, of: DeploymentId) -> Option<&BuildRow> {
        let mut newest = self.builds.values().rev();
        newest.find(|row| row.deployment == of)
    }

    /// What is known of the builds that an agent reports.
    #[must_use]
    pub fn reported_builds(&self, report: &Report) -> Vec<BuildRow> {
        let RoleReport::Agent(agent) = &report.role else {
            return Vec::new();
        };
        let known = agent.builds.iter();
        known
            .filter_map(|report| self.builds.get(&report.id).cloned())
            .collect()
    }

    /// A build that was given to another node meanwhile is not touched, nor is one that has ended, nor one that only
    /// another history has canceled.
    pub(super) fn store_builds(&mut self, node: NodeId, reports: &[BuildReport]) -> bool {
        let mut changed = false;
        for report in reports {
            let row = self.builds.get_mut(&report.id);
            let counts = |row: &&mut BuildRow| {
                row.node == Some(node) && (row.canceled || !is_canceled(&report.state))
            };
            if let Some(row) = row.filter(counts) {
                changed |= row.enter(&report.state);
            }
        }
        changed
    }

    /// What the node makes although the document that it works by lacks it, it is told to let go.
    pub fn let_go_of_builds(&mut self, node: NodeId, report: &Report) {
        let RoleReport::Agent(agent) = &report.role else {
            return;
        };
        let feed = FeedName::Node(node);
        let current = report.feeds.iter().filter(|commit| commit.feed == feed);
        let mut current = current.filter(|commit| commit.epoch == self.platform.epoch);
        let (Some(commit), Some(row)) = (current.next(), self.feeds.get(&feed)) else {
            return;
        };
        let lacks = |id: &String| {
            let dropped = row.dropped_at(id);
            let knows = dropped.is_none_or(|generation| generation <= commit.generation.0);
            row.document.get(id).is_none() && knows
        };
        let cause = DropCause::Plan;
        let ids = agent.builds.iter().map(|build| item_id(build.id));
        let let_go: Vec<Change> = ids
            .filter(lacks)
            .map(|id| Change::LetGo { id, cause })
            .collect();
        self.write_feeds(Changes::from([(feed, let_go)]));
    }
}

/// Whether a node has ended a build because it was told to.
#[must_use]
pub fn is_canceled(state: &BuildState) -> bool {
    match state {
        BuildState::Failed { problem } => problem.code == BUILD_CANCELED,
        _ => false,
    }
}
