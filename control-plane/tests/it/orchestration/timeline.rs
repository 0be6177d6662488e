//! When the database's history may have been cut: nothing of the lost history is used again, nodes
//! are not blamed for a silence of ours, and what is kept of the lost history goes in the end.

use std::{collections::BTreeMap, time::Duration};

use control_plane::store::{
    epoch,
    feed::{self, Change, Following},
    liveness, placement,
    tx::SystemTx,
};
use domain::{
    generation::{Epoch, Generation, Position},
    id::{NodeId, ServiceId},
    ring::Ring,
};
use link::follow::Standing;
use protocol::feed::{
    FeedName,
    digest::{Document, Rendered},
};
use scheduler::Liveness;
use testkit::{fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform};

const ROUTES: FeedName = FeedName::GlobalRoutes(Ring::All);
const GAP: Duration = Duration::from_secs(10);
const LATE_AFTER: Duration = Duration::from_secs(45);

async fn write(platform: &Platform, value: &str) -> Position {
    let pools = platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    let put = Change::Put {
        id: "hostname/a".into(),
        item: Rendered::of(&value).unwrap(),
        secrets: vec![],
    };
    let changes = BTreeMap::from([(ROUTES, vec![put])]);
    let positions = feed::write(&mut tx, changes).await.unwrap();
    tx.commit().await.unwrap();
    positions[&ROUTES]
}

/// As after a failover that nobody has noticed yet.
async fn another_timeline(platform: &Platform) {
    execute(platform, "update platform set timeline = timeline - 1").await;
}

async fn execute(platform: &Platform, statement: &'static str) {
    sqlx::query(statement)
        .execute(&platform.pool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_or_served_in_the_old_epoch_on_another_timeline() {
    let platform = Platform::new().await;
    let first = write(&platform, "one").await;
    assert_eq!(
        write(&platform, "two").await.epoch,
        first.epoch,
        "nothing was cut"
    );

    another_timeline(&platform).await;
    let written = write(&platform, "three").await;
    assert!(written.epoch > first.epoch);
    assert_eq!(
        write(&platform, "four").await.epoch,
        written.epoch,
        "it begins once"
    );

    another_timeline(&platform).await;
    let pools = platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    let stored = feed::head(&mut tx, &ROUTES).await.unwrap().position;
    assert_eq!(
        stored.epoch, written.epoch,
        "what a node shows is compared with what is stored"
    );
    let following = Following {
        epoch: stored.epoch,
        after: stored.generation,
    };
    let served = feed::changes(&mut tx, &ROUTES, following).await.unwrap();
    assert!(served.head.position.epoch > written.epoch);
    assert!(served.full, "the lost history's generation leads nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_to_before_a_failover_gets_an_epoch_of_its_own() {
    let platform = Platform::new().await;
    let backup = write(&platform, "one").await;
    another_timeline(&platform).await;
    let lost = write(&platform, "two").await;

    // As the backup has it: the failover never was. Nobody has shown anything yet.
    restored_to(&platform, backup.epoch).await;
    another_timeline(&platform).await;
    let written = write(&platform, "three").await;
    assert!(written.epoch > lost.epoch, "{written} is after {lost}");

    // Nor does a clock that is behind lead to the same epochs again.
    let future = Epoch(written.epoch.0 * 2);
    let mut epochs = Vec::new();
    for text in ["four", "five"] {
        restored_to(&platform, future).await;
        another_timeline(&platform).await;
        epochs.push(write(&platform, text).await.epoch);
    }
    assert!(epochs.iter().all(|epoch| *epoch > future), "{epochs:?}");
    assert_ne!(epochs[0], epochs[1]);
}

async fn restored_to(platform: &Platform, epoch: Epoch) {
    sqlx::query("update platform set epoch = $1")
        .bind(epoch.0)
        .execute(&platform.pool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_is_for_an_operator_to_judge() {
    let platform = Platform::new().await;
    let before = write(&platform, "one").await;
    another_timeline(&platform).await;
    let pools = platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    let newer = Position {
        epoch: before.epoch,
        generation: Generation(before.generation.0 + 9),
    };
    epoch::show(&mut tx, &ROUTES, newer).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(write(&platform, "two").await.epoch, before.epoch);
}

/// An agent that reported last ten minutes ago.
async fn silent_agent(platform: &Platform) -> NodeId {
    let node = NodeId::new();
    sqlx::query(
        "with joined as (
            insert into node (id, region_id, role, name, public_key)
            select $1, id, 'agent', 'a1', '' from region where name = 'us-east'
         )
         insert into node_status (node_id, boot_id, sequence, protocol, binary_version, reported_at)
         values ($1, 'boot', 1, 1, 'test', now() - interval '10 minutes')",
    )
    .bind(node.uuid())
    .execute(&platform.pool)
    .await
    .unwrap();
    node
}

/// As the reconciler of nodes does.
async fn listen(platform: &Platform) -> Vec<NodeId> {
    let pools = platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    liveness::listen(&mut tx, GAP).await.unwrap();
    let late = liveness::mark_late(&mut tx, LATE_AFTER).await.unwrap();
    tx.commit().await.unwrap();
    late
}

async fn liveness_of(platform: &Platform) -> Liveness {
    let pools = platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    placement::nodes(&mut tx).await.unwrap()[0].liveness
}

const SHOWN: &str =
    "update platform set shown_epoch = 9, shown_generation = 9, shown_feed = 'routes/global'";
const DECIDED: &str =
    "update platform set shown_epoch = null, shown_generation = null, shown_feed = null";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_late_or_lost_for_a_silence_that_is_ours() {
    let platform = Platform::new().await;
    let node = silent_agent(&platform).await;
    let listening =
        "update platform set listened_at = now(), listening_since = now() - interval '1 hour'";
    execute(&platform, listening).await;

    execute(&platform, SHOWN).await;
    assert_eq!(listen(&platform).await, [], "its reports were refused");
    execute(&platform, DECIDED).await;
    assert_eq!(
        listen(&platform).await,
        [node],
        "now it could have reported"
    );

    execute(
        &platform,
        "update node_status set late_since = now() - interval '10 minutes'",
    )
    .await;
    execute(&platform, SHOWN).await;
    assert_eq!(liveness_of(&platform).await, Liveness::Late);
    execute(&platform, DECIDED).await;
    assert_eq!(liveness_of(&platform).await, Liveness::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_has_its_time_again_after_we_were_away() {
    let platform = Platform::new().await;
    silent_agent(&platform).await;
    let away = "update platform set listened_at = now() - interval '5 minutes'";

    // Late when we went away, and not lost yet.
    execute(&platform, away).await;
    execute(
        &platform,
        "update node_status set late_since = now() - interval '6 minutes'",
    )
    .await;
    assert_eq!(liveness_of(&platform).await, Liveness::Lost);
    listen(&platform).await;
    assert_eq!(liveness_of(&platform).await, Liveness::Late);

    // Lost already when we went away.
    execute(&platform, away).await;
    execute(
        &platform,
        "update node_status set late_since = now() - interval '7 minutes'",
    )
    .await;
    listen(&platform).await;
    assert_eq!(liveness_of(&platform).await, Liveness::Lost);
}

fn standing(edge: &FakeEdge, service: ServiceId) -> Option<Standing> {
    let state = edge.region_routes().borrow().clone();
    let entry = state.items.get(format!("service/{service}").as_str())?;
    Some(entry.standing)
}

/// As a backup from before the service's first deployment would have it, when it was wanted in one
/// region only. A region's routes are gone from all rings, as they are written: of one ring only, its edges would
/// be waited for and have nothing to acknowledge.
async fn restore(platform: &Platform, service: ServiceId) {
    let mut tx = platform.pool.begin().await.unwrap();
    sqlx::query("update service set current_deployment_id = null, routed_deployment_id = null, spec = $2 where id = $1")
        .bind(service.uuid())
        .bind(serde_json::json!({"scale": {"regions": {"us-east": 1}}}))
        .execute(&mut *tx)
        .await
        .unwrap();
    for statement in [
        "delete from instance",
        "delete from deployment",
        "delete from feed_item where feed like 'node/%' or feed like 'routes/region/eu-west%'",
        "update platform set epoch = epoch + 1",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    sqlx::query(
        "update feed set digest = $1, buckets = '', count = 0
         where name like 'node/%' or name like 'routes/region/eu-west%'",
    )
    .bind(Document::default().digest())
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_a_restored_database_lacks_is_let_go_by_the_next_deployment() {
    let platform = Platform::with("[node]\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let _east = platform.agent(&replica, "us-east", "a1").await;
    let _west = platform.agent(&replica, "eu-west", "a2").await;
    let _near = platform.edge(&replica, "us-east", "e1").await;
    let edge = platform.edge(&replica, "eu-west", "e2").await;
    let both = r#"{"scale":{"regions":{"us-east":1,"eu-west":1}}}"#;
    let service = platform.service("web", both).await;
    let lost = platform.deploy(&replica, service).await;
    platform.reaches(lost, "live").await;
    until(DEADLINE, async || {
        standing(&edge, service) == Some(Standing::Current)
    })
    .await;

    restore(&platform, service).await;
    until(DEADLINE, async || {
        standing(&edge, service) == Some(Standing::Orphaned)
    })
    .await;
    let kept = "select count(*) from node_feed, service where service.id = $1
                and feed = 'routes/region/eu-west' and held_drops > 0";
    platform.counts(kept, service, 1).await;
    let next = platform.deploy(&replica, service).await;
    platform.reaches(next, "live").await;
    until(DEADLINE, async || standing(&edge, service).is_none()).await;
    platform.counts(kept, service, 0).await;
}
