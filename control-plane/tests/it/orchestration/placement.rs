//! Scaling, capacity, lost nodes, and leaving nothing behind.

use domain::{
    deployment::{cause::Cause, machine::Failure},
    instance::{Desired, State},
    quantity::{Bytes, MilliCpu},
};
use protocol::report::{Capacity, Problem};
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
async fn a_release_command_of_which_nobody_knows_how_it_ended_is_the_platform_s_failure() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let spec = r#"{"scale":{"regions":{"us-east":1}},"deploy":{"pre_deploy_command":["migrate"]}}"#;
    let service = platform.service("web", spec).await;
    for unknown in ["exit_code_lost", "start_cut_off", "container_lost"] {
        agent.on_instance(move |_, report| {
            report.state = State::Stopped;
            report.exit_code = None;
            report.problem = Some(Problem {
                code: unknown.to_owned(),
                message: "whether it did its work is not known".to_owned(),
            });
        });
        let deployment = platform.deploy(&replica, service).await;
        platform.reaches(deployment, "failed").await;
        let (code, message) = platform.problem_of(deployment).await.unwrap();
        assert_eq!(code, unknown);
        assert!(message.contains("not known"), "{message}");
        assert_eq!(Cause::of(&Failure::new(&code, message)), Cause::Platform);
    }
    platform.counts(INSTANCES, service, 0).await;
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
