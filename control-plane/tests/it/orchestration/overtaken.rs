//! Who is overtaken between what it read and what it writes: the one writes nothing, the other loses nothing.

use control_plane::store::{Pools, evaluation, tx::SystemTx};
use domain::id::ServiceId;
use testkit::wait::until;
use uuid::Uuid;

use super::platform::{DEADLINE, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;
const EVALUATIONS: &str = "select count(*) from evaluation where service_id = $1";

async fn ask(platform: &Platform, tx: &mut SystemTx, service: ServiceId) {
    let asked = evaluation::request(tx, platform.organization, service, "test").await;
    asked.unwrap();
}

/// An evaluation that this holder has in hand.
async fn in_hand(platform: &Platform, pools: &Pools, service: ServiceId, holder: Uuid) {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    ask(platform, &mut tx, service).await;
    assert!(evaluation::claim(&mut tx, holder).await.unwrap().is_some());
    tx.commit().await.unwrap();
}

async fn waits_for_a_lock(platform: &Platform) -> bool {
    sqlx::query_scalar(
        "select exists (select 1 from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock')",
    )
    .fetch_one(&platform.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_that_is_handed_over_while_others_are_revived_is_asked_again() {
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    let orphaned = platform.service("orphaned", ONE).await;
    let handed_over = platform.service("handed-over", ONE).await;
    let (dead, leaving) = (Uuid::now_v7(), Uuid::now_v7());
    in_hand(&platform, &pools, orphaned, dead).await;
    sqlx::query("update evaluation set claimed_until = now() - interval '1 minute'")
        .execute(&platform.pool)
        .await
        .unwrap();
    in_hand(&platform, &pools, handed_over, leaving).await;

    // Whoever revives the first one waits for who has just asked about it.
    let mut asking = SystemTx::begin(&pools).await.unwrap();
    ask(&platform, &mut asking, orphaned).await;
    let mut reviving = SystemTx::begin(&pools).await.unwrap();
    let reviving = tokio::spawn(async move {
        evaluation::revive(&mut reviving, false).await.unwrap();
        reviving.commit().await.unwrap();
    });
    until(DEADLINE, async || waits_for_a_lock(&platform).await).await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    evaluation::release(&mut tx, leaving).await.unwrap();
    tx.commit().await.unwrap();
    asking.commit().await.unwrap();
    reviving.await.unwrap();

    assert_eq!(platform.count(EVALUATIONS, orphaned).await, 1);
    assert_eq!(platform.count(EVALUATIONS, handed_over).await, 1, "lost");
}
