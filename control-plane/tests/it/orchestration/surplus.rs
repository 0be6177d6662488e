//! More instances than are wanted, a service that moves, and one that is deleted: found by the
//! simulation (`tests/sim`).

use domain::instance::{Desired, State};

use super::platform::{INSTANCES, Platform};

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
