//! What `railhead admin doctor` reads: with real reconcilers and real node links.

use std::collections::BTreeSet;

use control_plane::{
    reconcile,
    store::{epoch, tx::SystemTx},
};
use domain::{
    generation::{Epoch, Generation, Position},
    id::ServiceId,
    ring::Ring,
};
use protocol::feed::FeedName;
use serde_json::{Value, json};
use testkit::wait::until;

use crate::orchestration::platform::DEADLINE;

use super::{nodes::node, world::World};

pub(super) async fn status(world: &World) -> Value {
    let answer = world
        .server
        .get(&world.operator, "/v1/platform/status")
        .await;
    answer.expect(200).body
}

pub(super) fn codes(status: &Value) -> Vec<&str> {
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
    every_feed_and_node_is_told(&world).await;

    sqlx::query("update node set schedulable = false where name = 'a1' and region_id = (select id from region where name = 'us-east')")
        .execute(world.pool())
        .await
        .unwrap();
    comes_to(&world, &["region_without_agent"]).await;
}

/// What is said of agents that are silent, in order.
fn of_silence(status: &Value) -> Vec<(&str, &str)> {
    let findings = status["findings"].as_array().unwrap().iter();
    let told = findings.map(|finding| (text(finding, "code"), text(finding, "subject")));
    told.filter(|(code, _)| ["replacement_stopped", "node_late", "node_fenced"].contains(code))
        .collect()
}

/// What alerts read of a region; none before it was looked at.
fn is_stopped(region: &str) -> Option<bool> {
    let families = telemetry::metrics::registry().gather();
    let family = families
        .iter()
        .find(|family| family.name() == "railhead_replacement_stopped")?;
    let mut gauges = family.get_metric().iter();
    let gauge = gauges.find(|gauge| gauge.get_label()[0].value() == region)?;
    Some(gauge.get_gauge().get_value() > 0.5)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_scheduler_replaces_nothing_one_finding_and_the_metric_say_so_until_the_dead_are_named()
 {
    let world = World::new().await;
    let _replica = world.platform.replica().await;
    let silent = node(&world, "a1", "agent", 300.0).await;
    node(&world, "a2", "agent", 1.0).await;
    assert_eq!(of_silence(&status(&world).await), [("node_late", "a1")]);
    until(DEADLINE, async || is_stopped("us-east") == Some(false)).await;

    node(&world, "a3", "agent", 300.0).await;
    let stopped = [("replacement_stopped", "us-east")];
    assert_eq!(of_silence(&status(&world).await), stopped);
    until(DEADLINE, async || is_stopped("us-east") == Some(true)).await;
    assert_eq!(is_stopped("eu-west"), Some(false));

    let fence = format!("{silent}/fence");
    let reason = json!({ "reason": "its power is off" });
    let fenced = world.server.post(&world.operator, &fence, reason).await;
    fenced.expect(200);
    let left = [("node_fenced", "a1"), ("node_late", "a3")];
    assert_eq!(of_silence(&status(&world).await), left);
    until(DEADLINE, async || is_stopped("us-east") == Some(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_emptied_is_told_from_one_that_is_cordoned() {
    let world = World::new().await;
    node(&world, "a1", "agent", 1.0).await;
    let drained = node(&world, "a2", "agent", 1.0).await;
    let drain = json!({ "schedulable": false, "draining": true });
    world
        .server
        .patch(&world.operator, &drained, drain)
        .await
        .expect(200);
    let status = status(&world).await;
    let nodes = status["nodes"].as_array().unwrap().iter();
    let draining: Vec<_> = nodes
        .map(|node| (text(node, "name"), &node["draining"]))
        .collect();
    assert_eq!(draining, [("a1", &json!(false)), ("a2", &json!(true))]);
}

/// A build that ended so many minutes ago, with this code when it failed.
async fn ended(world: &World, service: ServiceId, minutes: i32, code: Option<&str>) {
    sqlx::query(
        "insert into build (id, organization_id, service_id, deployment_id, source, state, problem_code, problem_message,
            finished_at)
         select gen_random_uuid(), organization_id, id, gen_random_uuid(), '{}',
            case when $3::text is null then 'succeeded' else 'failed' end, $3, 'told of ' || $3, now() - make_interval(mins => $2)
         from service where id = $1",
    )
    .bind(service.uuid())
    .bind(minutes)
    .bind(code)
    .execute(world.pool())
    .await
    .unwrap();
}

/// An instance whose node says this of it.
async fn troubled(world: &World, service: ServiceId, node: &str, code: &str) {
    sqlx::query(
        "with placed as (
            insert into instance (id, organization_id, service_id, deployment_id, release_id, node_id, region_id, cpu_millis,
                memory_bytes)
            select gen_random_uuid(), s.organization_id, s.id, gen_random_uuid(), gen_random_uuid(), n.id, n.region_id, 1, 1
            from service s, node n where s.id = $1 and n.name = $2 returning id, organization_id
         )
         insert into instance_status (instance_id, organization_id, problem_code, problem_message)
         select id, organization_id, $3, 'told of ' || $3 from placed",
    )
    .bind(service.uuid())
    .bind(node)
    .bind(code)
    .execute(world.pool())
    .await
    .unwrap();
}

/// Instances without an image, their nodes, builds that failed, and whether the doctor tells of it.
async fn of_registry(world: &World) -> (i64, i64, i64, bool) {
    let status = status(world).await;
    let number = |field: &str| status["registry"][field].as_i64().unwrap();
    (
        number("instances_without_image"),
        number("nodes_without_image"),
        number("builds_failed"),
        codes(&status).contains(&"registry_failing"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_the_registry_failed_are_told_of_until_one_is_taken() {
    let world = World::new().await;
    let service = world.platform.service("web", "{}").await;
    ended(&world, service, 70, Some("registry_unavailable")).await;
    ended(&world, service, 50, Some("dockerfile_failed")).await;
    assert_eq!(of_registry(&world).await, (0, 0, 0, false));
    ended(&world, service, 40, Some("registry_unavailable")).await;
    ended(&world, service, 30, Some("push_failed")).await;
    assert_eq!(of_registry(&world).await, (0, 0, 2, true));
    ended(&world, service, 20, None).await;
    assert_eq!(of_registry(&world).await, (0, 0, 0, false));
    ended(&world, service, 10, Some("push_failed")).await;
    assert_eq!(of_registry(&world).await, (0, 0, 1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_whose_image_does_not_come_are_told_of_by_nodes_that_are_heard() {
    let world = World::new().await;
    let service = world.platform.service("web", "{}").await;
    node(&world, "a1", "agent", 1.0).await;
    node(&world, "a2", "agent", 300.0).await;
    troubled(&world, service, "a1", "exited").await;
    troubled(&world, service, "a2", "image_pull_failed").await;
    assert_eq!(of_registry(&world).await, (0, 0, 0, false));
    troubled(&world, service, "a1", "image_pull_failed").await;
    troubled(&world, service, "a1", "image_missing").await;
    assert_eq!(of_registry(&world).await, (2, 1, 0, true));
}

async fn every_feed_and_node_is_told(world: &World) {
    let feeds = [
        ("node", 1, 0),
        ("node", 1, 0),
        ("routes/global", 2, 0),
        ("routes/region/eu-west", 1, 0),
        ("routes/region/us-east", 1, 0),
    ];
    until(DEADLINE, async || followed(&status(world).await) == feeds).await;
    let status = status(world).await;
    let nodes = [
        ("eu-west", "a1", "agent"),
        ("eu-west", "e1", "edge"),
        ("us-east", "a1", "agent"),
        ("us-east", "e1", "edge"),
    ];
    assert_eq!(reporting(&status), nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reconciler_says_how_it_fares() {
    let world = World::new().await;
    let _replica = world.platform.replica().await;
    let all = BTreeSet::from_iter(reconcile::names());
    until(DEADLINE, async || {
        let status = status(&world).await;
        let reconcilers = status["reconcilers"].as_array().unwrap();
        let well = reconcilers.iter().filter(|one| is_well(one));
        well.map(|one| one["name"].as_str().unwrap())
            .collect::<BTreeSet<_>>()
            == all
    })
    .await;
}

/// Its last turn went well, and a replica leads it if its turns are close enough for that.
fn is_well(reconciler: &Value) -> bool {
    let is_led = reconciler["lease_expires_at"].is_string();
    let is_seldom = reconciler["period_seconds"].as_i64().unwrap() >= 5;
    reconciler["succeeded_at"].is_string() && reconciler["error"].is_null() && (is_led || is_seldom)
}

/// Feeds that somebody follows, with how many do and how many of those are behind; nodes' own as "node".
fn followed(status: &Value) -> Vec<(&str, i64, i64)> {
    let feeds = status["feeds"].as_array().unwrap().iter();
    let told = feeds.map(|feed| {
        let name = feed["name"].as_str().unwrap();
        let kind = if name.starts_with("node/") {
            "node"
        } else {
            name
        };
        let number = |field: &str| feed[field].as_i64().unwrap();
        (kind, number("followers"), number("behind"))
    });
    told.filter(|(_, followers, _)| *followers > 0).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Nodes that have reported, by region.
fn reporting(status: &Value) -> Vec<(&str, &str, &str)> {
    let nodes = status["nodes"].as_array().unwrap().iter();
    let nodes = nodes.filter(|node| node["reported_at"].is_string());
    let mut all: Vec<_> = nodes
        .map(|node| (text(node, "region"), text(node, "name"), text(node, "role")))
        .collect();
    all.sort_unstable();
    all
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
