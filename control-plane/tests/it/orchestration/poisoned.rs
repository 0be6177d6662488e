//! One service whose rows can't be read, or that somebody holds, stops no other.

use domain::{
    deployment::Source,
    id::{DeploymentId, InstanceId, ReleaseId, ServiceId},
};
use protocol::report::{BuildState, Problem};
use sqlx::types::Json;
use testkit::{fake_agent::FakeAgent, wait::until};

use super::platform::{DEADLINE, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// As a fault of ours, or a hand in the database, could leave it: a name that is none. Every reconciler meets it
/// before the others, as it is older and has waited for longer.
const POISON: &str = "
    with elsewhere as (insert into environment (id, organization_id, project_id, name)
            select $1, $2, project_id, 'broken' from environment),
         named as (update service set name = 'No Name', routed_deployment_id = $4, environment_id = $1 where id = $1),
         refreshed as (insert into route_refresh (service_id, organization_id, requested_at) values ($1, $2, '-infinity')),
         asked as (insert into evaluation (id, organization_id, service_id, triggers, created_at)
            values ($3, $2, $1, '{}', '-infinity')),
         going as (insert into instance (id, organization_id, service_id, deployment_id, release_id, node_id, region_id,
                stop_cause, cpu_millis, memory_bytes)
            select $3, $2, $1, $4, $3, id, region_id, 'deployment', 0, 0 from node where id = $5 returning id),
         built as (insert into build (id, organization_id, service_id, deployment_id, source) values ($3, $2, $1, $4, '{}')),
         observed as (insert into instance_status (instance_id, organization_id) select id, $2 from going)
    insert into deployment (id, organization_id, service_id, number, source, spec, reason, state)
    select $4, $2, $1, 1, $6, spec, 'rollback', 'queued' from service where id = $1";

async fn poison(platform: &Platform, agent: &FakeAgent, service: ServiceId) {
    let source = Source::Release {
        id: ReleaseId::new(),
    };
    sqlx::query(POISON)
        .bind(service.uuid())
        .bind(platform.organization.uuid())
        .bind(InstanceId::new().uuid())
        .bind(DeploymentId::new().uuid())
        .bind(agent.node_id().uuid())
        .bind(Json(source))
        .execute(&platform.pool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_of_one_service_stops_no_other() {
    let platform = Platform::new().await;
    let broken = platform.service("broken", ONE).await;
    let service = platform.service("web", ONE).await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    until(DEADLINE, async || agent.state().borrow().commit.is_some()).await;
    poison(&platform, &agent, broken).await;

    for _ in 0..2 {
        let deployment = platform.deploy(&replica, service).await;
        platform.reaches(deployment, "live").await;
    }
    until(DEADLINE, async || {
        let told: Vec<String> =
            sqlx::query_scalar("select error from reconciler where error is not null")
                .fetch_all(&platform.pool)
                .await
                .unwrap();
        told.iter().any(|error| error.contains(&broken.to_string()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_does_not_open_fails_its_own_deployment() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let broken = platform.service("broken", ONE).await;
    platform.variable(broken, "SECRET", "value").await;
    sqlx::query("update variable set ciphertext = 'nonsense' where service_id = $1")
        .bind(broken.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    let deployment = platform.deploy(&replica, broken).await;
    let _agent = platform.agent(&replica, "us-east", "east-1").await;
    platform.reaches(deployment, "failed").await;
    let (code, message) = platform.problem_of(deployment).await.unwrap();
    assert_eq!(code, "variable_unreadable", "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenants_build_says_does_not_silence_its_node() {
    let platform = Platform::with("[node]\nlate_after = \"1s\"\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    agent.on_build(|_, report| {
        report.state = BuildState::Failed {
            problem: Problem {
                code: "dockerfile_failed".into(),
                message: "unknown instruction: F\0O".into(),
            },
        };
    });
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "failed").await;
    let (_, message) = platform.problem_of(deployment).await.unwrap();
    assert!(message.contains("F\u{fffd}O"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_somebody_holds_keeps_no_silent_node_from_being_late() {
    let platform = Platform::with("[node]\nlate_after = \"1s\"\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let east = platform.agent(&replica, "us-east", "east-1").await;
    let west = platform.agent(&replica, "eu-west", "west-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;

    let mut held = platform.pool.begin().await.unwrap();
    sqlx::query("select 1 from service where id = $1 for update")
        .bind(service.uuid())
        .execute(&mut *held)
        .await
        .unwrap();
    sqlx::query("update node set draining = true where id = $1")
        .bind(east.node_id().uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    let silent = west.node_id().uuid();
    drop(west);
    until(DEADLINE, async || {
        sqlx::query_scalar("select late_since is not null from node_status where node_id = $1")
            .bind(silent)
            .fetch_one(&platform.pool)
            .await
            .unwrap()
    })
    .await;
    held.rollback().await.unwrap();
}
