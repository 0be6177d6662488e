//! Deleting a project, step by step: nothing is left, whoever dies in between.

use std::time::Duration;

use control_plane::{
    store::{
        tx::SystemTx,
        workflow::{self, Next},
    },
    workflow::deletion,
};
use domain::id::ServiceId;
use protocol::report::Kept;
use testkit::{fake_agent::FakeAgent, fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform, Replica};

const TWO: &str = r#"{"scale":{"regions":{"us-east":2}}}"#;

/// Everything that a project leaves in the database and in feeds while it is there.
const TRACES: [&str; 13] = [
    "select count(*) from project where $1::uuid is not null",
    "select count(*) from environment where $1::uuid is not null",
    "select count(*) from service where $1::uuid is not null",
    "select count(*) from instance where $1::uuid is not null",
    "select count(*) from deployment where $1::uuid is not null",
    "select count(*) from release where $1::uuid is not null",
    "select count(*) from release_secret where $1::uuid is not null",
    "select count(*) from build where $1::uuid is not null",
    "select count(*) from variable where $1::uuid is not null",
    "select count(*) from domain where $1::uuid is not null",
    "select sum(reserved_cpu_millis + reserved_memory_bytes)::bigint from node where $1::uuid is not null",
    "select count(*) from feed_item where feed like 'node/%' and $1::uuid is not null",
    "select count(*) from feed_item where (id like 'service/%' or id like 'hostname/%') and $1::uuid is not null",
];

/// A registry that has nothing: what is there is deleted in `registry.rs`.
async fn live(platform: &Platform, replica: &Replica) -> (FakeAgent, FakeEdge, ServiceId) {
    let agent = platform.agent(replica, "us-east", "east-1").await;
    let edge = platform.edge(replica, "us-east", "east-edge").await;
    let service = platform.service("web", TWO).await;
    platform.variable(service, "A", "b").await;
    let deployment = platform.deploy(replica, service).await;
    platform.reaches(deployment, "live").await;
    (agent, edge, service)
}

async fn at(platform: &Platform) -> (String, String, Option<String>) {
    sqlx::query_as("select state, step, waits_on from workflow order by id desc limit 1")
        .fetch_one(&platform.pool)
        .await
        .unwrap()
}

/// Or further: some steps have nothing to wait for.
async fn has_come_to(platform: &Platform, step: &str) -> bool {
    let position = |name: &str| {
        deletion::WORKFLOW
            .steps
            .iter()
            .position(|step| step.name == name)
    };
    let (state, now, _) = at(platform).await;
    position(&now) >= position(step) || state == "done"
}

/// The test's registry can't be reached: its jobs count as done.
async fn clear_registry(platform: &Platform) {
    sqlx::query("delete from job where kind = 'delete_images'")
        .execute(&platform.pool)
        .await
        .unwrap();
}

async fn ends(platform: &Platform, service: ServiceId) {
    until(DEADLINE, async || {
        clear_registry(platform).await;
        at(platform).await.0 == "done"
    })
    .await;
    for trace in TRACES {
        assert_eq!(platform.count(trace, service).await, 0, "{trace}");
    }
}

/// As if all advances from this step on had been lost with a failing database.
async fn goes_back_to(platform: &Platform, step: &str) {
    sqlx::query(
        "update workflow set state = 'running', step = $1, finished_at = null, run_at = now()",
    )
    .bind(step)
    .execute(&platform.pool)
    .await
    .unwrap();
}

/// So that what a dead replica held is free.
async fn time_passes(platform: &Platform) {
    for statement in [
        "update lease set expires_at = now()",
        "update workflow set claimed_until = now() where claimed_until is not null",
    ] {
        sqlx::query(statement)
            .execute(&platform.pool)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_leaves_no_row_no_item_and_no_reservation() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (agent, edge, service) = live(&platform, &replica).await;
    platform.delete_project().await;
    until(DEADLINE, async || {
        let jobs: i64 = sqlx::query_scalar("select count(*) from job where kind = 'delete_images'")
            .fetch_one(&platform.pool)
            .await
            .unwrap();
        jobs == 1
    })
    .await;
    let services: i64 = platform
        .count("select count(*) from service where id = $1", service)
        .await;
    assert_eq!(services, 1, "rows go last");
    ends(&platform, service).await;
    until(DEADLINE, async || agent.state().borrow().items.is_empty()).await;
    drop(edge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_between_any_two_steps_is_followed_by_another() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let proxy = replica.url.clone();
    let (agent, edge, service) = live(&platform, &replica).await;
    platform.delete_project().await;
    drop(replica);
    let mut seen = vec![at(&platform).await.1];
    for step in deletion::WORKFLOW.steps.iter().skip(1) {
        // It lives until its first step is done; then it is killed.
        let next = platform.replica_at(&proxy).await;
        until(DEADLINE, async || {
            if step.name == "delete_rows" {
                clear_registry(&platform).await;
            }
            has_come_to(&platform, step.name).await
        })
        .await;
        seen.push(at(&platform).await.1);
        drop(next);
        time_passes(&platform).await;
    }
    let names: Vec<_> = deletion::WORKFLOW
        .steps
        .iter()
        .map(|step| step.name)
        .collect();
    assert!(
        seen.iter().all(|step| names.contains(&step.as_str())),
        "{seen:?}"
    );
    let last = platform.replica_at(&proxy).await;
    ends(&platform, service).await;
    drop((last, agent, edge));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_can_be_done_again() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (agent, edge, service) = live(&platform, &replica).await;
    platform.delete_project().await;
    let steps = deletion::WORKFLOW.steps;
    for (step, next) in steps.iter().zip(&steps[1..]) {
        until(DEADLINE, async || {
            if next.name == "delete_rows" {
                clear_registry(&platform).await;
            }
            has_come_to(&platform, next.name).await
        })
        .await;
        goes_back_to(&platform, step.name).await;
    }
    ends(&platform, service).await;
    goes_back_to(&platform, steps[0].name).await;
    ends(&platform, service).await;
    drop((agent, edge));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_waits_for() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (agent, edge, service) = live(&platform, &replica).await;
    // Containers that do not end.
    agent.on_instance(|_, report| {
        report.state = domain::instance::State::Running;
        report.ready = true;
    });
    platform.delete_project().await;
    waits_on(&platform, "node east-1 still runs 2 of web").await;
    // Then it starts again, and has not looked what there is; then it has looked.
    agent.keeps(None);
    agent.on_instance(|_, _| {});
    waits_on(
        &platform,
        "node east-1 has not said yet what it keeps of web",
    )
    .await;
    agent.keeps(Some(Kept {
        services: [service].into(),
        ..Kept::default()
    }));
    let image = "node east-1 still has a container or an image of web";
    waits_on(&platform, image).await;
    agent.keeps(Some(Kept::default()));
    ends(&platform, service).await;
    drop(edge);
}

async fn waits_on(platform: &Platform, what: &str) {
    until(DEADLINE, async || {
        let (_, step, waits_on) = at(platform).await;
        step == "clear_nodes" && waits_on.is_some_and(|waits_on| waits_on.contains(what))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_replica_advances_nothing() {
    const LIFETIME: Duration = Duration::from_secs(20);
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    platform.delete_project().await;
    let claim = async || {
        let mut tx = SystemTx::begin(&pools).await.unwrap();
        let claim = workflow::claim(&mut tx, &["deletion"], LIFETIME)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        claim
    };
    let slow = claim().await.unwrap();
    assert!(claim().await.is_none(), "it is in one hand only");
    sqlx::query("update workflow set claimed_until = now() - interval '1 second'")
        .execute(&platform.pool)
        .await
        .unwrap();
    let next = claim().await.unwrap();
    let forward = Next::Step("remove_routes");
    let advance = async |held: &workflow::Claim| {
        let mut tx = SystemTx::begin(&pools).await.unwrap();
        let held = workflow::advance(&mut tx, held, forward, None)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        held
    };
    assert!(!advance(&slow).await, "it was overtaken");
    // As after `admin restored`: what it holds is of another history.
    sqlx::query("update platform set epoch = epoch + 1")
        .execute(&platform.pool)
        .await
        .unwrap();
    assert!(!advance(&next).await, "the database was restored");
    sqlx::query("update workflow set claimed_until = null")
        .execute(&platform.pool)
        .await
        .unwrap();
    let newest = claim().await.unwrap();
    assert!(advance(&newest).await);
    assert!(!advance(&newest).await, "once only");
    assert_eq!(at(&platform).await.1, "remove_routes");
}
