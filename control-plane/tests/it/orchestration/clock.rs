//! The database's clock jumps, as when a machine is set or another one takes its place: what is under way goes on,
//! and nobody waits until the time comes that a clock has shown too soon.

use domain::{id::DeploymentId, instance::State};
use protocol::report::Problem;
use testkit::{fake_agent::FakeAgent, wait::until};

use super::platform::{DEADLINE, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// From now on all that was written was written ten minutes earlier.
const JUMP_AHEAD: &str = "
    with listening as (update platform set listened_at = listened_at - interval '10 minutes',
            listening_since = listening_since - interval '10 minutes'),
         reports as (update node_status set reported_at = reported_at - interval '10 minutes')
    update deployment set state_since = state_since - interval '10 minutes',
        step_deadline = step_deadline - interval '10 minutes'";

/// As if a replica had died while the clock was ten minutes ahead.
const LEASES_OF_THE_FUTURE: &str =
    "update lease set holder = gen_random_uuid(), expires_at = now() + interval '10 minutes'";

#[tokio::test(flavor = "multi_thread")]
async fn no_deployment_fails_because_a_clock_has_jumped_ahead() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    takes_long(&agent, "before");
    let deployment = platform.deploy(&replica, service).await;
    is_told(&platform, deployment, "before").await;

    let jumped = sqlx::query(JUMP_AHEAD).execute(&platform.pool).await;
    assert_eq!(jumped.unwrap().rows_affected(), 1);
    takes_long(&agent, "after");
    is_told(&platform, deployment, "after").await;
    agent.on_instance(|_, _| {});
    platform.reaches(deployment, "live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_end_of_a_lease_that_a_clock_gave_too_far_ahead() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let _agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;

    let left = sqlx::query(LEASES_OF_THE_FUTURE)
        .execute(&platform.pool)
        .await;
    assert!(left.unwrap().rows_affected() > 0);
    let second = platform.deploy(&replica, service).await;
    platform.reaches(second, "live").await;
}

fn takes_long(agent: &FakeAgent, why: &'static str) {
    agent.on_instance(move |_, report| {
        report.state = State::Starting;
        report.ready = false;
        report.problem = Some(Problem {
            code: "slow".to_owned(),
            message: why.to_owned(),
        });
    });
}

/// Waits until the deployment, which goes on, tells this reason for waiting.
async fn is_told(platform: &Platform, deployment: DeploymentId, why: &str) {
    until(DEADLINE, async || {
        let problem = platform.problem_of(deployment).await;
        let state = platform.state_of(deployment).await;
        assert_ne!(state, "failed", "{problem:?}");
        problem.is_some_and(|(_, message)| message == why)
    })
    .await;
}
