//! The last steps of a deployment: edges take it over, it serves, the old instances end.

use control_plane::store::{self, tx::SystemTx};
use domain::{
    id::{DeploymentId, ServiceId},
    instance::{Desired, State},
    quantity::{Bytes, MilliCpu},
};
use protocol::{item::NodeItem, report::Capacity};
use testkit::{fake_agent::FakeAgent, fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, INSTANCES, Platform, Replica};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// A service that is live on one node behind one edge.
struct Live {
    platform: Platform,
    replica: Replica,
    agent: FakeAgent,
    _edge: FakeEdge,
    service: ServiceId,
}

impl Live {
    async fn start() -> Self {
        let platform = Platform::new().await;
        let replica = platform.replica().await;
        let agent = platform.agent(&replica, "us-east", "east-1").await;
        let edge = platform.edge(&replica, "us-east", "east-edge").await;
        let service = platform.service("web", ONE).await;
        let first = platform.deploy(&replica, service).await;
        platform.reaches(first, "live").await;
        Self {
            platform,
            replica,
            agent,
            _edge: edge,
            service,
        }
    }

    async fn deploy(&self) -> DeploymentId {
        self.platform.deploy(&self.replica, self.service).await
    }

    async fn current(&self) -> DeploymentId {
        let current: uuid::Uuid =
            sqlx::query_scalar("select current_deployment_id from service where id = $1")
                .bind(self.service.uuid())
                .fetch_one(&self.platform.pool)
                .await
                .unwrap();
        current.into()
    }

    /// From now on, what is told to stop takes its time.
    fn old_instances_drain(&self) {
        self.agent.on_instance(|item, report| {
            if item.desired == Desired::Stop {
                report.state = State::Draining;
            }
        });
    }

    fn old_instances_end(&self) {
        self.agent.on_instance(|_, _| {});
    }

    fn is_any_told_to_stop(&self) -> bool {
        let state = self.agent.state().borrow().clone();
        state
            .items
            .values()
            .any(|entry| matches!(&entry.item, NodeItem::Instance(i) if i.desired == Desired::Stop))
    }

    async fn problem(&self, deployment: DeploymentId) -> (String, String) {
        let problem = self.platform.problem_of(deployment).await;
        problem.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_while_old_instances_drain_and_is_live_when_they_have_ended() {
    let live = Live::start().await;
    live.old_instances_drain();
    let second = live.deploy().await;
    live.platform.reaches(second, "draining").await;
    assert_eq!(live.current().await, second);
    until(DEADLINE, async || {
        live.problem(second).await
            == (
                "old_instances_draining".into(),
                "1 old instance has not ended yet (us-east 1)".into(),
            )
    })
    .await;
    let mut tx = SystemTx::begin(&live.replica.state.pools).await.unwrap();
    let canceled = store::deployment_api::request_cancel(&mut tx, second);
    assert!(!canceled.await.unwrap(), "what serves can't be canceled");
    drop(tx);
    live.platform.counts(INSTANCES, live.service, 2).await;
    assert_eq!(live.platform.state_of(second).await, "draining");
    live.old_instances_end();
    live.platform.reaches(second, "live").await;
    assert_eq!(live.platform.problem_of(second).await, None);
    assert_eq!(live.platform.count(INSTANCES, live.service).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_one_does_not_wait_for_old_streams_and_says_that_it_waits_for_their_room() {
    let live = Live::start().await;
    // Room for two instances.
    live.agent.set_capacity(Capacity {
        cpu: MilliCpu(4_000),
        memory: Bytes::mebibytes(512),
    });
    live.old_instances_drain();
    let second = live.deploy().await;
    live.platform.reaches(second, "draining").await;
    let third = live.deploy().await;
    live.platform.reaches(second, "live").await;
    live.platform.reaches(third, "placing").await;
    let reason = "no node in us-east with 256 MiB free; 1 node short by 256 MiB; \
                  waits for 1 old instance of this service to end there";
    until(DEADLINE, async || {
        live.problem(third).await == ("no_capacity".into(), reason.into())
    })
    .await;
    let mut tx = SystemTx::begin(&live.replica.state.pools).await.unwrap();
    let shown = store::service::find(&mut tx, live.service).await.unwrap();
    let shown = shown.unwrap().blocked;
    assert_eq!(shown.get("us-east").map(String::as_str), Some(reason));
    drop(tx);
    live.old_instances_end();
    live.platform.reaches(third, "live").await;
    let reserved: i64 = sqlx::query_scalar("select sum(reserved_memory_bytes)::bigint from node")
        .fetch_one(&live.platform.pool)
        .await
        .unwrap();
    assert_eq!(reserved, 256 << 20, "the next one has room at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_instance_that_does_not_end_is_noted_and_the_new_one_is_live_all_the_same() {
    let live = Live::start().await;
    live.old_instances_drain();
    let second = live.deploy().await;
    live.platform.reaches(second, "draining").await;
    until(DEADLINE, async || {
        live.problem(second).await.0 == "old_instances_draining"
    })
    .await;
    // As after its deadline.
    sqlx::query("update deployment set step_deadline = now() where id = $1")
        .bind(second.uuid())
        .execute(&live.platform.pool)
        .await
        .unwrap();
    live.platform.reaches(second, "live").await;
    let (code, message) = live.problem(second).await;
    assert_eq!(code, "old_instances_draining");
    assert!(
        message.starts_with("waited too long for old instances to end"),
        "{message}"
    );
    assert_eq!(live.current().await, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_instance_is_not_told_to_stop_while_an_edge_may_still_use_it() {
    let live = Live::start().await;
    let slow = live
        .platform
        .edge(&live.replica, "us-east", "slow-edge")
        .await;
    let slow_id = slow.node_id();
    // An edge that has never reported is not waited for.
    let reported = "select count(*) from node_status where $1::uuid is not null";
    live.platform.counts(reported, live.service, 3).await;
    drop(slow);
    let second = live.deploy().await;
    live.platform.reaches(second, "shifting").await;
    assert!(!live.is_any_told_to_stop());
    // The silent edge is late from now on: its time of grace begins, the old one still stays.
    sqlx::query("update node_status set late_since = now() where node_id = $1")
        .bind(slow_id.uuid())
        .execute(&live.platform.pool)
        .await
        .unwrap();
    live.platform.reaches(second, "draining").await;
    until(DEADLINE, async || {
        live.problem(second).await.0 == "old_instances_kept"
    })
    .await;
    assert!(!live.is_any_told_to_stop());
    assert_eq!(live.platform.count(INSTANCES, live.service).await, 2);
    // As after ten minutes.
    sqlx::query("update instance set unrouted_at = now() - interval '10 minutes' where unrouted_at is not null")
        .execute(&live.platform.pool)
        .await
        .unwrap();
    live.platform.reaches(second, "live").await;
    assert_eq!(live.platform.count(INSTANCES, live.service).await, 1);
}
