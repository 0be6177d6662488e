//! Builds in PostgreSQL.

use control_plane::store::{
    build::{self, Build},
    deployment, node_report, release,
};
use domain::{
    generation::Position,
    id::{BuildId, DeploymentId, NodeId},
};
use protocol::{
    feed::FeedName,
    item::BuildSource,
    report::{BuildState, Report},
};
use testkit::compare_and_set::{
    agent_report, applied, building,
    builds::{Builds, Stand},
};

use super::Postgres;

impl Postgres {
    fn building(&self, node: NodeId, sequence: u64, builds: &[(BuildId, BuildState)]) -> Report {
        building(
            agent_report("first", sequence, self.rooms[&node], &[]),
            builds,
        )
    }

    async fn store(&self, node: NodeId, report: &Report) {
        let mut tx = self.begin().await;
        let stored = node_report::store(&mut tx, node, 1, report).await.unwrap();
        tx.commit().await.unwrap();
        assert!(stored.is_some());
    }
}

impl Builds for Postgres {
    type Read = Build;

    async fn start_build(&mut self, deployment: DeploymentId) -> BuildId {
        let (id, found) = (BuildId::new(), self.find(deployment).await.unwrap());
        let source = BuildSource::Git {
            repo: "https://git.example.com/a.git".into(),
            reference: None,
            deploy_key: None,
        };
        let mut tx = self.begin().await;
        let inserted = release::insert_build(&mut tx, &found, id, &source);
        inserted.await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn read_build(&mut self, id: BuildId) -> Option<Build> {
        let open = build::open(&mut self.begin().await).await.unwrap();
        let read = open.into_iter().find(|(read, _)| *read == id);
        read.map(|(_, build)| build.unwrap())
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
        let mut tx = self.begin().await;
        let assigned = build::assign(&mut tx, read, node).await.unwrap();
        tx.commit().await.unwrap();
        assigned
    }

    async fn hold(&mut self, read: &Build) -> bool {
        build::hold(&mut self.begin().await, read).await.unwrap()
    }

    async fn end_canceled(&mut self, id: BuildId) {
        let mut tx = self.begin().await;
        build::end_canceled(&mut tx, id).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn builders(&mut self) -> Vec<NodeId> {
        let builders = build::builders(&mut self.begin().await).await.unwrap();
        builders.into_iter().map(|(node, _)| node).collect()
    }

    async fn report_builds(
        &mut self,
        node: NodeId,
        sequence: u64,
        builds: &[(BuildId, BuildState)],
    ) {
        self.store(node, &self.building(node, sequence, builds))
            .await;
    }

    async fn report_builds_at(
        &mut self,
        node: NodeId,
        sequence: u64,
        at: Position,
        builds: &[(BuildId, BuildState)],
    ) {
        let report = self.building(node, sequence, builds);
        self.store(node, &applied(report, FeedName::Node(node), at))
            .await;
    }

    async fn result(&mut self, id: DeploymentId) -> Option<Result<String, String>> {
        let found = deployment::build(&mut self.begin().await, id).await;
        let build = found.unwrap().filter(|build| build.finished)?;
        let problem = build.problem.map(|problem| problem.code);
        Some(build.digest.ok_or_else(|| problem.unwrap_or_default()))
    }
}
