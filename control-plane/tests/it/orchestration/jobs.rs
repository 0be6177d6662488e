//! The queue of jobs: an attempt fences, failures come back, and what fails too often is set aside.

use std::time::Duration;

use control_plane::store::{
    Pools,
    job::{self, Claim},
    tx::SystemTx,
};
use serde_json::json;
use uuid::Uuid;

use super::platform::Platform;

const LIFETIME: Duration = Duration::from_secs(60);

async fn claim(pools: &Pools) -> Option<Claim> {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let claim = job::claim(&mut tx, Uuid::now_v7(), LIFETIME).await.unwrap();
    tx.commit().await.unwrap();
    claim
}

async fn insert(pools: &Pools) {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    job::insert(&mut tx, "test", "nothing", &json!({}))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_overtaken_can_not_end_the_job() {
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    insert(&pools).await;
    let slow = claim(&pools).await.unwrap();
    assert!(claim(&pools).await.is_none(), "it is in one hand only");
    sqlx::query("update job set claimed_until = now() - interval '1 second'")
        .execute(&platform.pool)
        .await
        .unwrap();
    let next = claim(&pools).await.unwrap();
    assert_eq!((slow.attempt, next.attempt), (1, 2));
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    assert!(!job::complete(&mut tx, &slow).await.unwrap());
    assert!(
        !job::fail(&mut tx, &slow, "x", Duration::ZERO)
            .await
            .unwrap()
    );
    assert!(job::complete(&mut tx, &next).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_too_often_is_set_aside_with_its_last_error() {
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    insert(&pools).await;
    for attempt in 1..=10 {
        let claim = claim(&pools).await.unwrap();
        assert_eq!(claim.attempt, attempt);
        let mut tx = SystemTx::begin(&pools).await.unwrap();
        job::fail(&mut tx, &claim, "no answer", Duration::ZERO)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    assert!(claim(&pools).await.is_none());
    let error: String = sqlx::query_scalar("select last_error from job where dead_at is not null")
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    assert_eq!(error, "no answer");
}
