//! More instances than are wanted, a service that moves, and one that is deleted: found by the
//! simulation (`tests/sim`).

use domain::instance::{Desired, State};
use protocol::item::{GlobalRouteItem, RegionRouteItem};
use testkit::{fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, INSTANCES, Platform};

const EAST: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;
const WEST: &str = r#"{"scale":{"regions":{"eu-west":1}}}"#;
const STAYING: &str = "select count(*) from instance where service_id = $1 and stopped_at is null and stop_cause is null";

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_called_off_leaves_no_replica_too_many() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let first = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", EAST).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    let second = platform.agent(&replica, "us-east", "east-2").await;
    second.on_instance(|item, report| {
        if item.desired == Desired::Run {
            report.state = State::Starting;
            report.ready = false;
        }
    });
    drain(&platform, first.node_id(), true).await;
    platform.counts(STAYING, service, 2).await;
    drain(&platform, first.node_id(), false).await;
    platform.counts(STAYING, service, 1).await;
    platform.counts(INSTANCES, service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_moves_to_another_region_serves_until_it_is_ready_there() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let _east = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", EAST).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    let west = platform.agent(&replica, "eu-west", "west-1").await;
    west.on_instance(|_, report| {
        report.state = State::Starting;
        report.ready = false;
    });
    platform.respec(&replica, service, WEST).await;
    platform.counts(INSTANCES, service, 2).await;
    assert_eq!(
        platform.count(STAYING, service).await,
        2,
        "the old one serves"
    );
    west.on_instance(|_, _| {});
    platform.counts(INSTANCES, service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_left_when_every_edge_uses_the_next_one() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let _agents = [
        platform.agent(&replica, "us-east", "east-1").await,
        platform.agent(&replica, "eu-west", "west-1").await,
    ];
    let east = platform.edge(&replica, "us-east", "east-edge").await;
    let west = platform.edge(&replica, "eu-west", "west-edge").await;
    let service = platform.service("web", EAST).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    let slow = platform.edge(&replica, "eu-west", "slow-edge").await;
    let slow_id = slow.node_id();
    // An edge that has never reported is not waited for.
    let reported = "select count(*) from node_status where $1::uuid is not null";
    platform.counts(reported, service, 5).await;
    drop(slow);

    platform.respec(&replica, service, WEST).await;
    let both = ["eu-west", "us-east"].map(str::to_owned).to_vec();
    until(DEADLINE, async || {
        (endpoints(&west), regions(&east)) == (1, both.clone())
    })
    .await;
    let shall_go = "select count(*) from instance where service_id = $1 and stop_cause = 'scale'";
    platform.counts(shall_go, service, 1).await;
    let routed = "select count(*) from instance where service_id = $1 and unrouted is null";
    assert_eq!(platform.count(routed, service).await, 2);
    assert_eq!((endpoints(&east), regions(&east)), (1, both));

    // The slow edge is late from now on: nobody waits for it to take the other region up.
    sqlx::query("update node_status set late_since = now() where node_id = $1")
        .bind(slow_id.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    until(DEADLINE, async || {
        (endpoints(&east), regions(&east)) == (0, vec!["eu-west".to_owned()])
    })
    .await;
    assert_eq!(platform.count(routed, service).await, 1);
}

fn endpoints(edge: &FakeEdge) -> usize {
    let state = edge.region_routes().borrow().clone();
    let services = state.items.values().filter_map(|entry| match &entry.item {
        RegionRouteItem::Service(service) => Some(service.endpoints.len()),
        RegionRouteItem::Agent(_) => None,
    });
    services.sum()
}

fn regions(edge: &FakeEdge) -> Vec<String> {
    let state = edge.global_routes().borrow().clone();
    let hostname = state.items.values().find_map(|entry| match &entry.item {
        GlobalRouteItem::Hostname(hostname) => Some(hostname.clone()),
        _ => None,
    });
    let regions = hostname.map(|hostname| hostname.regions);
    let regions = regions.into_iter().flatten();
    regions.map(|region| region.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_services_instances_remember_when_their_routes_went() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let _agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", EAST).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    // The routes go before the scheduler is asked; the instance must wait for edges all the same.
    sqlx::query("update service set deleted_at = now() where id = $1")
        .bind(service.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    let waits_for_edges = "select count(*) from instance where service_id = $1
        and (unrouted ? 'routes/region/us-east') and (unrouted ? 'routes/global')";
    platform.counts(waits_for_edges, service, 1).await;
}

async fn drain(platform: &Platform, node: domain::id::NodeId, draining: bool) {
    sqlx::query("update node set draining = $2 where id = $1")
        .bind(node.uuid())
        .bind(draining)
        .execute(&platform.pool)
        .await
        .unwrap();
}
