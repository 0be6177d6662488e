//! How much instances get at a time: others have the rest, another region, or the patience of those who wait.

use domain::{id::ServiceId, spec::Limits};
use protocol::item::ServicePolicy;
use reqwest::Response;
use tokio::task::JoinHandle;

use crate::{
    forward::two_regions,
    support::{Instance, Region, TestEdge, client, until},
};

fn limits(connections: u32, pending: u32) -> ServicePolicy {
    ServicePolicy {
        limits: Some(Limits {
            connections: Some(connections),
            pending: Some(pending),
            ..Limits::default()
        }),
        ..ServicePolicy::default()
    }
}

const SLOW: &str = "https://app.test/slow?pieces=0&every_ms=1500";

fn ask(client: &reqwest::Client, url: &str) -> JoinHandle<Response> {
    let request = client.get(url);
    tokio::spawn(async move { request.send().await.unwrap() })
}

fn busy(edge: &TestEdge, service: ServiceId) -> usize {
    let routes = edge.running.state.routes.load();
    let endpoints = routes.service(service).unwrap().endpoints().iter();
    endpoints.map(|endpoint| endpoint.in_flight()).sum()
}

fn someone_waits(edge: &TestEdge, service: ServiceId) -> bool {
    let routes = edge.running.state.routes.load();
    routes.service(service).unwrap().has_queue()
}

fn is_refused(answer: &Response) {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["x-railhead-error"], "over_capacity");
    assert_eq!(answer.headers()["retry-after"], "1");
}

#[tokio::test]
async fn who_finds_no_room_waits_and_who_finds_no_place_to_wait_is_refused() {
    let region = Region::start().await;
    let one = [&region.instance];
    let routes = region.routes.clone();
    let routes = routes.service_by(region.service, &one, limits(1, 1));
    region
        .edge
        .publish_and_settle(&routes, region.service, &one)
        .await;
    let client = client(&region.ca, region.edge.https);
    let first = ask(&client, SLOW);
    until("it runs", async || busy(&region.edge, region.service) == 1).await;
    let second = ask(&client, "https://app.test/");
    until("it waits", async || {
        someone_waits(&region.edge, region.service)
    })
    .await;
    is_refused(&ask(&client, "https://app.test/").await.unwrap());
    assert_eq!(first.await.unwrap().text().await.unwrap(), "at last");
    assert_eq!(second.await.unwrap().text().await.unwrap(), "one");
    until("all is over", async || {
        busy(&region.edge, region.service) == 0
    })
    .await;
    assert!(!someone_waits(&region.edge, region.service));
    assert_eq!(region.instance.requests(), 2);
}

#[tokio::test]
async fn another_region_takes_what_is_too_much_for_this_one() {
    let two = two_regions().await;
    let local = Instance::start("near", two.agents[0].node_id).await;
    two.agents[0].holds(two.service, &local);
    let routes = two.routes.clone().agent(&two.agents[0]);
    let routes = routes.service_by(two.service, &[&local], limits(1, 10));
    two.near
        .publish_and_settle(&routes, two.service, &[&local])
        .await;
    let client = client(&two.ca, two.near.https);
    let first = ask(&client, SLOW);
    until("it runs", async || busy(&two.near, two.service) == 1).await;
    let answer = ask(&client, "https://app.test/").await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "far");
    first.await.unwrap();
    assert_eq!(local.requests(), 1);
}

#[tokio::test]
async fn who_comes_from_another_region_waits_where_the_only_instances_are() {
    let two = two_regions().await;
    let far = [&two.instance];
    let routes = two.routes.clone().agent(&two.agents[1]);
    let routes = routes.service_by(two.service, &far, limits(1, 1));
    two.far.publish_and_settle(&routes, two.service, &far).await;
    let client = client(&two.ca, two.near.https);
    let first = ask(&client, SLOW);
    until("it runs", async || busy(&two.far, two.service) == 1).await;
    let second = ask(&client, "https://app.test/");
    until("it waits", async || someone_waits(&two.far, two.service)).await;
    is_refused(&ask(&client, "https://app.test/").await.unwrap());
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(second.await.unwrap().text().await.unwrap(), "far");
}
