//! Scaling, capacity, lost nodes, and leaving nothing behind.

use domain::{
    instance::{Desired, State},
    quantity::{Bytes, MilliCpu},
};
use protocol::report::Capacity;
use testkit::wait::until;

use super::platform::{DEADLINE, INSTANCES, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;
const THREE: &str = r#"{"scale":{"regions":{"us-east":3}}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn scaling_starts_and_stops_instances_of_the_same_release_without_a_deployment() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let _agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    let before: uuid::Uuid = sqlx::query_scalar("select id from instance")
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    platform.respec(&replica, service, THREE).await;
    platform.counts(INSTANCES, service, 3).await;
    platform.respec(&replica, service, ONE).await;
    platform.counts(INSTANCES, service, 1).await;
    let deployments: i64 = sqlx::query_scalar("select count(*) from deployment")
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    assert_eq!(deployments, 1);
    let first_runs_on: bool =
        sqlx::query_scalar("select stopped_at is null from instance where id = $1")
            .bind(before)
            .fetch_one(&platform.pool)
            .await
            .unwrap();
    assert!(first_runs_on, "the oldest instance was not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_says_what_is_short_and_is_placed_once_there_is_room() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    agent.set_capacity(Capacity {
        cpu: MilliCpu(4_000),
        memory: Bytes::mebibytes(100),
    });
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "placing").await;
    until(DEADLINE, async || {
        platform
            .problem_of(deployment)
            .await
            .is_some_and(|(code, message)| {
                code == "no_capacity"
                    && message == "no node in us-east with 256 MiB free; 1 node short by 156 MiB"
            })
    })
    .await;
    agent.set_capacity(Capacity {
        cpu: MilliCpu(4_000),
        memory: Bytes::mebibytes(1_000),
    });
    platform.reaches(deployment, "live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_is_replaced_elsewhere() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let first = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    let second = platform.agent(&replica, "us-east", "east-2").await;
    until(DEADLINE, async || {
        platform
            .count(
                "select count(*) from node_status where $1::uuid is not null",
                service,
            )
            .await
            == 3
    })
    .await;
    let lost = first.node_id();
    drop(first);
    // As after two minutes of silence.
    sqlx::query(
        "update node_status set late_since = now() - interval '3 minutes' where node_id = $1",
    )
    .bind(lost.uuid())
    .execute(&platform.pool)
    .await
    .unwrap();
    until(DEADLINE, async || second.state().borrow().items.len() == 1).await;
    platform
        .counts(
            "select count(*) from instance where service_id = $1 and stop_cause = 'replaced'",
            service,
            1,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_command_runs_once_before_anything_is_placed_and_its_failure_ends_the_deployment()
{
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let spec = r#"{"scale":{"regions":{"us-east":1}},"deploy":{"pre_deploy_command":["migrate"]}}"#;
    let service = platform.service("web", spec).await;
    let good = platform.deploy(&replica, service).await;
    platform.reaches(good, "live").await;
    let commands =
        "select count(*) from instance where service_id = $1 and purpose = 'release_command'";
    assert_eq!(platform.count(commands, service).await, 1);

    agent.on_instance(|item, report| {
        if item.command.as_deref() == Some(&["migrate".to_owned()]) {
            report.state = State::Stopped;
            report.exit_code = Some(3);
        }
    });
    let bad = platform.deploy(&replica, service).await;
    platform.reaches(bad, "failed").await;
    let (code, message) = platform.problem_of(bad).await.unwrap();
    assert_eq!(code, "release_command_failed");
    assert!(message.contains("exit code 3"), "{message}");
    platform.counts(INSTANCES, service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_recreate_the_old_instance_is_gone_before_the_new_one_starts() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let spec = r#"{"scale":{"regions":{"us-east":1}},"deploy":{"strategy":"recreate"}}"#;
    let service = platform.service("web", spec).await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;
    // The old instance takes its time to drain.
    agent.on_instance(|item, report| {
        if item.desired == Desired::Stop {
            report.state = State::Draining;
        }
    });
    let second = platform.deploy(&replica, service).await;
    platform.reaches(second, "placing").await;
    let draining = "select count(*) from instance i join instance_status s on s.instance_id = i.id
        where i.service_id = $1 and s.state = 60";
    platform.counts(draining, service, 1).await;
    assert_eq!(platform.count(INSTANCES, service).await, 1);
    assert_eq!(platform.state_of(second).await, "placing");
    agent.on_instance(|_, _| {});
    platform.reaches(second, "live").await;
    platform.counts(INSTANCES, service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_emptied_hands_its_instances_over() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let first = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    let second = platform.agent(&replica, "us-east", "east-2").await;
    sqlx::query("update node set draining = true where id = $1")
        .bind(first.node_id().uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    until(DEADLINE, async || {
        first.state().borrow().items.is_empty() && second.state().borrow().items.len() == 1
    })
    .await;
    platform.counts(INSTANCES, service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_a_service_down_stops_it_until_the_next_deployment() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;
    sqlx::query("update service set active = false where id = $1")
        .bind(service.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    platform.respec(&replica, service, ONE).await;
    until(DEADLINE, async || agent.state().borrow().items.is_empty()).await;
    let next = platform.deploy(&replica, service).await;
    platform.reaches(next, "live").await;
    let old = "select count(*) from instance where service_id = $1 and stopped_at is null and deployment_id <>
        (select current_deployment_id from service where id = $1)";
    assert_eq!(
        platform.count(old, service).await,
        0,
        "what was taken down stays down"
    );
    drop(edge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_service_leaves_no_row_no_item_and_no_reservation() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", THREE).await;
    platform.variable(service, "A", "b").await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    sqlx::query("with d as (delete from domain) update project set deleted_at = now()")
        .execute(&platform.pool)
        .await
        .unwrap();
    platform
        .counts("select count(*) from service where id = $1", service, 0)
        .await;
    platform
        .counts(
            "select count(*) from project where $1::uuid is not null",
            service,
            0,
        )
        .await;
    for table in [
        "select count(*) from instance where $1::uuid is not null",
        "select count(*) from deployment where $1::uuid is not null",
        "select count(*) from release where $1::uuid is not null",
        "select count(*) from release_secret where $1::uuid is not null",
        "select count(*) from build where $1::uuid is not null",
        "select count(*) from variable where $1::uuid is not null",
        "select count(*) from environment where $1::uuid is not null",
        "select sum(reserved_cpu_millis + reserved_memory_bytes)::bigint from node where $1::uuid is not null",
        "select count(*) from feed_item where feed like 'node/%' and $1::uuid is not null",
        "select count(*) from feed_item where id like 'service/%' and $1::uuid is not null",
        "select count(*) from feed_item where id like 'hostname/%' and $1::uuid is not null",
    ] {
        assert_eq!(platform.count(table, service).await, 0, "{table}");
    }
    let images: i64 = sqlx::query_scalar("select count(*) from job where kind = 'delete_images'")
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    assert_eq!(images, 1);
    until(DEADLINE, async || agent.state().borrow().items.is_empty()).await;
    drop(edge);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_instance_is_not_told_to_stop_while_a_punctual_edge_may_still_use_it() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    let other = platform.edge(&replica, "us-east", "slow-edge").await;
    let service = platform.service("web", ONE).await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;
    let slow = other.node_id();
    drop(other);
    let second = platform.deploy(&replica, service).await;
    platform.reaches(second, "draining").await;
    let told = |agent: &testkit::fake_agent::FakeAgent| {
        let state = agent.state().borrow().clone();
        state.items.values().any(|entry| {
            matches!(&entry.item, protocol::item::NodeItem::Instance(i) if i.desired == Desired::Stop)
        })
    };
    assert!(!told(&agent));
    // The silent edge is late from now on: its time of grace begins, the old ones still stay.
    sqlx::query("update node_status set late_since = now() where node_id = $1")
        .bind(slow.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    platform
        .counts(
            "select count(*) from deployment where service_id = $1 and late_until is not null",
            service,
            1,
        )
        .await;
    assert!(!told(&agent));
    // As after ten minutes.
    sqlx::query("update deployment set late_until = now() where id = $1")
        .bind(second.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    platform.reaches(second, "live").await;
    sqlx::query("update instance set unrouted_at = now() - interval '10 minutes' where unrouted_at is not null")
        .execute(&platform.pool)
        .await
        .unwrap();
    platform.counts(INSTANCES, service, 1).await;
    drop(edge);
}
