//! Routes follow what changes, by request and in turn.

use protocol::item::RegionRouteItem;
use testkit::{fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

fn endpoints(edge: &FakeEdge) -> usize {
    let state = edge.region_routes().borrow().clone();
    let of_item = |item: &RegionRouteItem| match item {
        RegionRouteItem::Service(service) => service.endpoints.len(),
        RegionRouteItem::Agent(_) => 0,
    };
    state.items.values().map(|entry| of_item(&entry.item)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_change_is_asked_for_and_one_around_it_is_found_in_turn() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "one").await;
    let edge = platform.edge(&replica, "us-east", "edge").await;
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    assert_eq!(endpoints(&edge), 1);

    agent.on_instance(|_, report| report.ready = false);
    until(DEADLINE, async || endpoints(&edge) == 0).await;
    agent.on_instance(|_, report| report.ready = true);
    until(DEADLINE, async || endpoints(&edge) == 1).await;
    until(DEADLINE, async || {
        let waiting = "select count(*) from route_refresh where service_id = $1";
        platform.count(waiting, service).await == 0
    })
    .await;

    sqlx::query("insert into domain (id, organization_id, service_id, hostname, kind, verified_at)
         select gen_random_uuid(), organization_id, id, 'shop.example.com', 'custom', now() from service where id = $1")
        .bind(service.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    let is_routed = || {
        let state = edge.global_routes().borrow().clone();
        state.items.contains_key("hostname/shop.example.com")
    };
    until(DEADLINE, async || is_routed()).await;
}
