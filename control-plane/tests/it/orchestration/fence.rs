//! A node that an operator declares dead: what it ran is placed elsewhere at once, also what may never run
//! twice; nobody speaks with it; and when it comes back it ends what it has before it is let in.

use control_plane::store::{
    fence, node_report,
    tx::{Access as _, SystemTx},
};
use domain::{
    id::{InstanceId, NodeId, ServiceId},
    instance::State,
};
use testkit::{compare_and_set::agent_report, fake_agent::FakeAgent, wait::until};

use super::platform::{DEADLINE, INSTANCES, Platform, Replica};

const ALONE: &str = r#"{"scale":{"regions":{"us-east":1}},"deploy":{"strategy":"recreate"}}"#;

/// A platform with a service on its first agent that may never run twice, and an agent to spare.
struct Scene {
    platform: Platform,
    _replica: Replica,
    first: Option<FakeAgent>,
    node: NodeId,
    spare: FakeAgent,
    service: ServiceId,
}

impl Scene {
    async fn new() -> Self {
        let platform = Platform::with("[node]\nreport_interval = \"200ms\"").await;
        let replica = platform.replica().await;
        let first = platform.agent(&replica, "us-east", "a1").await;
        let _edge = platform.edge(&replica, "us-east", "e1").await;
        let service = platform.service("alone", ALONE).await;
        let deployment = platform.deploy(&replica, service).await;
        platform.reaches(deployment, "live").await;
        let spare = platform.agent(&replica, "us-east", "a2").await;
        until(DEADLINE, async || spare.state().borrow().commit.is_some()).await;
        Self {
            node: first.node_id(),
            platform,
            _replica: replica,
            first: Some(first),
            spare,
            service,
        }
    }

    /// As the API does; with `silent` as if it had said nothing for minutes.
    async fn fence(&self, silent: bool) -> bool {
        let pools = self.platform.pools().await;
        let mut tx = SystemTx::begin(&pools).await.unwrap();
        let late =
            "update node_status set late_since = case when $2 then now() - interval '3 minutes' end
                    where node_id = $1";
        sqlx::query(late)
            .bind(self.node.uuid())
            .bind(silent)
            .execute(tx.executor())
            .await
            .unwrap();
        let fenced = fence::fence(&mut tx, self.node).await.unwrap();
        tx.commit().await.unwrap();
        fenced
    }

    /// How many instances of the service a node shall run.
    async fn placed_on(&self, node: NodeId) -> i64 {
        sqlx::query_scalar(
            "select count(*) from instance where service_id = $1 and node_id = $2 and stopped_at is null",
        )
        .bind(self.service.uuid())
        .bind(node.uuid())
        .fetch_one(&self.platform.pool)
        .await
        .unwrap()
    }

    async fn is_moved(&self) {
        let spare = self.spare.node_id();
        until(DEADLINE, async || self.placed_on(spare).await == 1).await;
        self.platform.counts(INSTANCES, self.service, 1).await;
    }

    /// Whether it is fenced, whether anything may be placed there, and what is reserved.
    async fn stands(&self) -> (bool, bool, i64) {
        sqlx::query_as(
            "select fenced_at is not null, schedulable, reserved_cpu_millis from node where id = $1",
        )
        .bind(self.node.uuid())
        .fetch_one(&self.platform.pool)
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_ran_is_placed_elsewhere_at_once_even_if_it_may_never_run_twice() {
    let mut scene = Scene::new().await;
    assert!(!scene.fence(false).await, "it reports");
    scene.first = None;
    assert!(scene.fence(true).await);
    scene.is_moved().await;
    assert_eq!(
        scene.stands().await,
        (true, false, 0),
        "its room is given back"
    );
    let told =
        "select count(*) from event join service s on s.organization_id = event.organization_id
                where s.id = $1 and event.kind = 'instance.fenced'";
    assert_eq!(scene.platform.count(told, scene.service).await, 1);
    let denied = format!("denied/{}", scene.node);
    let state = scene.spare.state();
    until(DEADLINE, async || {
        state.borrow().items.contains_key(denied.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_ends_what_it_has_and_is_cordoned() {
    let scene = Scene::new().await;
    let first = scene.first.as_ref().unwrap();
    let has_instance = || {
        let state = first.state().borrow().clone();
        state.items.keys().any(|id| id.starts_with("instance/"))
    };
    assert!(has_instance());
    // It is there again with its next report: it was away for a moment only.
    assert!(scene.fence(true).await);
    until(DEADLINE, async || !has_instance()).await;
    scene.is_moved().await;
    until(DEADLINE, async || !scene.stands().await.0).await;
    assert_eq!(
        scene.stands().await,
        (false, false, 0),
        "cordoned, and empty"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifted_fence_is_noticed_so_that_others_speak_with_the_node_at_once() {
    let mut scene = Scene::new().await;
    scene.first = None;
    assert!(scene.fence(true).await);
    scene.is_moved().await;
    let pools = scene.platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    let runs = [(InstanceId::new(), State::Running)];
    let mut reports = Vec::new();
    for (sequence, instances) in [(1, &runs[..]), (2, &runs[..0])] {
        let report = agent_report("again", sequence, 1_000, instances);
        let noticed = node_report::store(&mut tx, scene.node, 1, &report).await;
        let fenced = fence::is_fenced(&mut tx, scene.node).await.unwrap();
        reports.push((noticed.unwrap().unwrap().address, fenced));
        // As one that has applied whatever there is.
        sqlx::query("update node_feed set generation = 1000000 where node_id = $1")
            .bind(scene.node.uuid())
            .execute(tx.executor())
            .await
            .unwrap();
    }
    assert_eq!(reports, [(true, true), (true, false)], "(noticed, fenced)");
}
