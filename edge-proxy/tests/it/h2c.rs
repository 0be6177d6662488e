//! Instances that speak HTTP/2 only, and not only gRPC.

use bytes::Bytes;
use domain::{id::ServiceId, spec::Protocol};
use http::Request;
use http_body_util::Full;
use protocol::item::{HostnameItem, RoutePolicy};

use crate::{
    grpc::{connect, ends_well, grpc_instance},
    support::{Agent, Ca, Region, Routes, TestEdge, client, http1_only},
};

const HOST: &str = "h2c.wild.test";

fn policy() -> RoutePolicy {
    RoutePolicy {
        protocol: Some(Protocol::H2c),
        ..RoutePolicy::default()
    }
}

/// A request of any kind, whose answer has trailers.
fn request(size: usize) -> Request<Full<Bytes>> {
    let body = Full::new(Bytes::from(vec![1; size]));
    Request::post(format!("https://{HOST}/any"))
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn requests_of_both_versions_reach_them_where_the_service_says_so() {
    let region = Region::start().await;
    let instance = grpc_instance(region.agent.node_id).await;
    region.agent.holds(region.service, &instance);
    let routes = region.routes.clone();
    let routes = routes.hostname_by(HOST, region.service, policy());
    let routes = routes.service(region.service, &[&instance]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&instance])
        .await;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        for size in [0_usize, 100_000] {
            let request = client.post(format!("https://{HOST}/"));
            let answer = request.body(vec![1; size]).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text().await.unwrap(), size.to_string());
        }
        let answer = client.post("https://app.test/").body("x").send().await;
        assert_eq!(
            answer.unwrap().status(),
            502,
            "by HTTP/1.1 it is not understood"
        );
    }
    let mut caller = connect(&region.ca, region.edge.https, HOST).await;
    let answer = caller.send_request(request(7)).await.unwrap();
    ends_well(answer, 7).await;
}

#[tokio::test]
async fn trailers_come_from_another_region() {
    let ca = Ca::new();
    let agent = Agent::start(&ca, "eu-west").await;
    let service = ServiceId::new();
    let instance = grpc_instance(agent.node_id).await;
    agent.holds(service, &instance);
    let hostname = HostnameItem {
        hostname: HOST.into(),
        service_id: service,
        regions: vec!["eu-west".parse().unwrap()],
        https_redirect: true,
        timeouts: domain::spec::Timeouts::default(),
        max_body: None,
        path: None,
        policy: policy(),
    };
    let routes = Routes::default()
        .certificate(&ca, &[HOST])
        .hostname_with(hostname);
    let there = routes.clone().agent(&agent).service(service, &[&instance]);
    let far = TestEdge::start(&ca, "eu-west", &there).await;
    far.usable(service, &[&instance]).await;
    let near = TestEdge::start(&ca, "us-east", &routes.edge(&far)).await;
    let mut caller = connect(&ca, near.https, HOST).await;
    for size in [0, 100_000] {
        let answer = caller.send_request(request(size)).await.unwrap();
        ends_well(answer, size).await;
    }
}
