//! What `railhead admin doctor` reads: with real reconcilers and real node links.

use control_plane::store::{epoch, tx::SystemTx};
use domain::{
    generation::{Epoch, Generation, Position},
    ring::Ring,
};
use protocol::feed::FeedName;
use serde_json::Value;
use testkit::wait::until;

use crate::orchestration::platform::DEADLINE;

use super::world::World;

async fn status(world: &World) -> Value {
    let answer = world
        .server
        .get(&world.operator, "/v1/platform/status")
        .await;
    answer.expect(200).body
}

fn codes(status: &Value) -> Vec<&str> {
    let findings = status["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

async fn comes_to(world: &World, wanted: &[&str]) {
    until(DEADLINE, async || codes(&status(world).await) == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_late_or_held_is_found_and_goes_when_it_is_mended() {
    let world = World::new().await;
    let replica = world.platform.replica().await;
    comes_to(
        &world,
        &[
            "region_without_edge",
            "region_without_agent",
            "region_without_edge",
            "region_without_agent",
        ],
    )
    .await;

    let mut nodes = Vec::new();
    for region in ["us-east", "eu-west"] {
        let agent = world.platform.agent(&replica, region, "a1").await;
        let edge = world.platform.edge(&replica, region, "e1").await;
        nodes.push((agent, edge));
    }
    comes_to(&world, &[]).await;

    sqlx::query("update node set schedulable = false where name = 'a1' and region_id = (select id from region where name = 'us-east')")
        .execute(world.pool())
        .await
        .unwrap();
    comes_to(&world, &["region_without_agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reconciler_says_how_it_fares() {
    let world = World::new().await;
    let _replica = world.platform.replica().await;
    until(DEADLINE, async || {
        let status = status(&world).await;
        let reconcilers = status["reconcilers"].as_array().unwrap();
        let well = reconcilers
            .iter()
            .filter(|one| one["succeeded_at"].is_string() && one["lease_expires_at"].is_string())
            .filter(|one| one["error"].is_null());
        well.count() >= 11
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_told_of_first_until_an_operator_has_decided() {
    let world = World::new().await;
    let pools = world.platform.pools().await;
    let mut tx = SystemTx::begin(&pools).await.unwrap();
    let newer = Position {
        epoch: Epoch(1),
        generation: Generation(1_000),
    };
    let feed = FeedName::GlobalRoutes(Ring::All);
    epoch::show(&mut tx, &feed, newer).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(codes(&status(&world).await)[0], "database_behind");

    let mut tx = SystemTx::begin(&pools).await.unwrap();
    epoch::restored(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!codes(&status(&world).await).contains(&"database_behind"));
}
