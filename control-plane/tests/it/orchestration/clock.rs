//! The database's clock jumps, as when a machine is set or another one takes its place: what is under way goes on,
//! and nobody waits until the time comes that a clock has shown too soon.

use std::time::Duration;

use control_plane::store::{
    Pools, evaluation, job,
    retention::{self, SWEEPS},
    tx::SystemTx,
    workflow::{self, New},
};
use domain::{id::DeploymentId, instance::State};
use protocol::report::Problem;
use serde_json::json;
use testkit::{fake_agent::FakeAgent, wait::until};
use uuid::Uuid;

use super::platform::{DEADLINE, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;
const IMPATIENT: &str =
    r#"{"scale":{"regions":{"us-east":1}},"deploy":{"progress_deadline":"4s"}}"#;

/// From now on all that was written was written ten minutes earlier.
const JUMP_AHEAD: &str = "
    with listening as (update platform set listened_at = listened_at - interval '10 minutes',
            listening_since = listening_since - interval '10 minutes'),
         reports as (update node_status set reported_at = reported_at - interval '10 minutes')
    update deployment set state_since = state_since - interval '10 minutes',
        step_deadline = step_deadline - interval '10 minutes'";

/// From now on all that was written was written ten minutes later: the clock that was ahead has gone back.
const JUMP_BACK: &str = "
    with listening as (update platform set listened_at = listened_at + interval '10 minutes',
            listening_since = listening_since + interval '10 minutes'),
         reports as (update node_status set reported_at = reported_at + interval '10 minutes'),
         unrouted as (update instance set unrouted_at = unrouted_at + interval '10 minutes')
    update deployment set state_since = state_since + interval '10 minutes',
        step_deadline = step_deadline + interval '10 minutes'";

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
async fn silence_and_deadlines_count_when_a_clock_has_gone_back() {
    let platform = Platform::with("[node]\nlate_after = \"1s\"\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let other = platform.agent(&replica, "eu-west", "west-1").await;
    let service = platform.service("web", IMPATIENT).await;
    takes_long(&agent, "before");
    let deployment = platform.deploy(&replica, service).await;
    is_told(&platform, deployment, "before").await;

    let silent = other.node_id().uuid();
    drop(other);
    let jumped = sqlx::query(JUMP_BACK).execute(&platform.pool).await;
    assert_eq!(jumped.unwrap().rows_affected(), 1);
    until(DEADLINE, async || {
        sqlx::query_scalar("select late_since is not null from node_status where node_id = $1")
            .bind(silent)
            .fetch_one(&platform.pool)
            .await
            .unwrap()
    })
    .await;
    platform.reaches(deployment, "failed").await;
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

/// As a replica leaves it that has died ten minutes ahead, or that has put work off for a moment there.
const CLAIMED: &str = "claimed_until = now() + interval '10 minutes'";
const PUT_OFF: &str = "claimed_until = null, run_at = now() + interval '10 minutes'";
const LIFETIME: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_hand_or_put_off_while_a_clock_was_ahead_is_taken_up_at_once() {
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    let set = async |table: &str, what: &str| {
        let statement = format!("update {table} set {what}");
        let changed = sqlx::query(sqlx::AssertSqlSafe(statement));
        changed.execute(&platform.pool).await.unwrap();
    };
    begin_some_of_each(&platform, &pools).await;
    assert!(has_job(&pools).await && has_workflow(&pools).await);
    assert!(
        !has_job(&pools).await && !has_workflow(&pools).await,
        "each is in one hand"
    );
    for ahead in [CLAIMED, PUT_OFF] {
        set("job", ahead).await;
        set("workflow", ahead).await;
        assert!(has_job(&pools).await, "{ahead}");
        assert!(has_workflow(&pools).await, "{ahead}");
    }
    set("job", &format!("{PUT_OFF}, attempt = 10")).await;
    set("workflow", &format!("{PUT_OFF}, failures = 10")).await;
    assert!(
        !has_job(&pools).await,
        "it has failed so often that it waits so long"
    );
    assert!(!has_workflow(&pools).await, "so has this");

    assert_eq!(revived(&pools).await, 0, "it is in hand");
    set("evaluation", CLAIMED).await;
    assert_eq!(revived(&pools).await, 1);
    set(
        "evaluation",
        "state = 'blocked', updated_at = now() + interval '10 minutes'",
    )
    .await;
    assert_eq!(revived(&pools).await, 1, "it was blocked in the future");
}

/// A job and a workflow that are due, and an evaluation in hand.
async fn begin_some_of_each(platform: &Platform, pools: &Pools) {
    let service = platform.service("web", ONE).await;
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let begun = job::insert(&mut tx, "test", "nothing", &json!({})).await;
    begun.unwrap();
    let new = New {
        organization: None,
        kind: "test",
        subject: "test".to_owned(),
        name: "test",
        first_step: "first",
    };
    workflow::insert(&mut tx, &new).await.unwrap();
    let organization = platform.organization;
    let asked = evaluation::request(&mut tx, organization, service, "test").await;
    asked.unwrap();
    tx.commit().await.unwrap();
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let claim = evaluation::claim(&mut tx, Uuid::now_v7()).await.unwrap();
    assert!(claim.is_some());
    tx.commit().await.unwrap();
}

/// Whether there is one to take, which is taken.
async fn has_job(pools: &Pools) -> bool {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let claim = job::claim(&mut tx, Uuid::now_v7(), LIFETIME).await;
    tx.commit().await.unwrap();
    claim.unwrap().is_some()
}

async fn has_workflow(pools: &Pools) -> bool {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let claim = workflow::claim(&mut tx, &["test"], LIFETIME).await;
    tx.commit().await.unwrap();
    claim.unwrap().is_some()
}

/// How many evaluations became pending again; this leaves things as they are.
async fn revived(pools: &Pools) -> u64 {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    evaluation::revive(&mut tx, false).await.unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_too_old_because_a_clock_is_a_year_ahead() {
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    retain(&pools).await;
    let kept = "insert into idempotency_key (actor_id, key, request_hash, created_at) values ('a', $1, '', now() - $2::interval)";
    for (key, age) in [("young", "1 hour"), ("old", "2 days")] {
        let kept = sqlx::query(kept).bind(key).bind(age);
        kept.execute(&platform.pool).await.unwrap();
    }
    retain(&pools).await;
    assert_eq!(
        keys(&platform).await,
        ["young"],
        "the other one's time was over"
    );

    // From now on all that was written was written 400 days earlier.
    let jump =
        "with platform as (update platform set retention_at = retention_at - interval '400 days')
        update idempotency_key set created_at = created_at - interval '400 days'";
    let jumped = sqlx::query(jump).execute(&platform.pool).await;
    assert_eq!(jumped.unwrap().rows_affected(), 1);
    for _ in 0..6 {
        retain(&pools).await;
    }
    assert_eq!(keys(&platform).await, ["young"], "an hour of true time");
    for _ in 0..24 {
        retain(&pools).await;
    }
    assert!(
        keys(&platform).await.is_empty(),
        "it was no jump: it goes on like this"
    );
}

/// A turn of retention.
async fn retain(pools: &Pools) {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let at = retention::turn(&mut tx).await.unwrap();
    for sweep in &SWEEPS {
        sweep.run(&mut tx, at).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn keys(platform: &Platform) -> Vec<String> {
    let keys = sqlx::query_scalar("select key from idempotency_key order by key");
    keys.fetch_all(&platform.pool).await.unwrap()
}
