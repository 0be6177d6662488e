//! The certificate that edges show to users: however long they are left alone, up to a month, it has not ended.

use chrono::{DateTime, TimeDelta, Utc};
use control_plane::{
    ca::SERVER_RENEWAL,
    store::{certificate, tx::SystemTx},
};
use testkit::wait::{until, until_some};

use super::platform::{DEADLINE, Platform};

/// So long an edge is promised to serve without the control plane.
const OUTAGE: TimeDelta = TimeDelta::days(30);
/// Until every edge has a renewed one.
const SPREAD: TimeDelta = TimeDelta::days(7);

async fn stored(platform: &Platform) -> Option<(i64, DateTime<Utc>)> {
    sqlx::query_as("select key_version, not_after from certificate where issuer = 'internal'")
        .fetch_optional(&platform.pool)
        .await
        .unwrap()
}

/// As it would be when its end is so far away.
async fn ends_in(platform: &Platform, left: TimeDelta) {
    sqlx::query("update certificate set not_after = $1")
        .bind(Utc::now() + left)
        .execute(&platform.pool)
        .await
        .unwrap();
}

async fn is_due(platform: &Platform) -> bool {
    let mut tx = SystemTx::begin(&platform.pools().await).await.unwrap();
    let names = ["*.railhead.test".to_owned()];
    let stored = certificate::lock_internal(&mut tx, &names, SERVER_RENEWAL).await;
    stored.unwrap().unwrap().due
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_an_outage_begins_edges_have_a_certificate_for_a_month_of_it() {
    let platform = Platform::new().await;
    let _replica = platform.replica().await;
    let (version, _) = until_some(DEADLINE, async || stored(&platform).await).await;

    ends_in(&platform, SERVER_RENEWAL + TimeDelta::days(1)).await;
    assert!(!is_due(&platform).await, "it would be renewed all the time");

    // The last moment at which an outage of that length could still be served through.
    ends_in(&platform, OUTAGE + SPREAD).await;
    until(DEADLINE, async || {
        let (now, not_after) = stored(&platform).await.unwrap();
        now == version + 1 && not_after > Utc::now() + TimeDelta::days(89)
    })
    .await;
    assert!(!is_due(&platform).await);
}
