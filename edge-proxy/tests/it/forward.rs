//! Requests for a region without a healthy instance go to another region's edge.

use std::time::Duration;

use domain::id::{DeploymentId, ServiceId};
use edge_proxy::upstream::endpoint::Health;
use futures::{SinkExt, StreamExt};
use link::identity::Identity;
use protocol::{feed::FeedName, join::Role};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Agent, Ca, Instance, Routes, TestEdge, client, http1_only, raw_tls, until};

pub struct TwoRegions {
    pub ca: Ca,
    pub service: ServiceId,
    pub near: TestEdge,
    pub far: TestEdge,
    pub instance: Instance,
    pub agents: [Agent; 2],
    pub routes: Routes,
}

impl TwoRegions {
    /// The only one, over there.
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }
}

/// `near` has no instance of the service, `far` has one.
pub async fn two_regions() -> TwoRegions {
    let ca = Ca::new();
    let agents = [
        Agent::start(&ca, "us-east").await,
        Agent::start(&ca, "eu-west").await,
    ];
    let service = ServiceId::new();
    let instance = Instance::start("far", agents[1].node_id).await;
    agents[1].holds(service, &instance);
    let routes = Routes::default().certificate(&ca, &["app.test"]).hostname(
        "app.test",
        service,
        &["us-east", "eu-west"],
    );
    let near = TestEdge::start(&ca, "us-east", &routes).await;
    let far = TestEdge::start(&ca, "eu-west", &routes).await;
    let routes = routes.edge(&near).edge(&far);
    near.publish(&routes.clone().agent(&agents[0]).service(service, &[]));
    let there = routes
        .clone()
        .agent(&agents[1])
        .service(service, &[&instance]);
    far.publish_and_settle(&there, service, &[&instance]).await;
    until("the near edge knows the far one", async || {
        near.running.state.routes.load().edges().len() == 2
    })
    .await;
    TwoRegions {
        ca,
        service,
        near,
        far,
        instance,
        agents,
        routes,
    }
}

#[tokio::test]
async fn another_region_answers_and_sees_the_user_as_the_first_edge_did() {
    let two = two_regions().await;
    for client in [
        client(&two.ca, two.near.https),
        http1_only(&two.ca, two.near.https),
    ] {
        let answer = client
            .get("https://app.test/headers")
            .header("x-railhead-hop", "7")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let seen: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(seen["x-request-id"], id);
        assert_eq!(seen["x-railhead-region"], "us-east");
        assert_eq!(seen["x-forwarded-proto"], "https");
        assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
        assert_eq!(seen["host"], "app.test");
        assert!(seen.get("x-railhead-hop").is_none());
    }
    let (near, far) = (two.near.log(2).await, two.far.log(2).await);
    assert_eq!(near[0]["forwarded_to"], "eu-west");
    assert_eq!(far[0]["forwarded_from"], "us-east");
    assert_eq!(near[0]["request_id"], far[0]["request_id"]);
    let trace = |line: &serde_json::Value| line["traceparent"].as_str().unwrap()[..35].to_owned();
    assert_eq!(trace(&near[0]), trace(&far[0]));
}

#[tokio::test]
async fn large_bodies_streams_and_many_at_once_pass() {
    let two = two_regions().await;
    let client = client(&two.ca, two.near.https);
    let requests = (0..50).map(|n| {
        let client = client.clone();
        async move {
            let url = "https://app.test/echo";
            let answer = client
                .post(url)
                .body(vec![1; 100_000 + n])
                .send()
                .await
                .unwrap();
            assert_eq!(answer.text().await.unwrap(), (100_000 + n).to_string());
        }
    });
    futures::future::join_all(requests).await;
    let stream = client
        .get("https://app.test/stream?pieces=5&every_ms=50")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.text().await.unwrap(), "0\n1\n2\n3\n4\n");
}

#[tokio::test]
async fn web_sockets_pass() {
    let two = two_regions().await;
    let tls = raw_tls(&two.ca, two.near.https, "app.test").await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("wss://app.test/ws", tls)
        .await
        .unwrap();
    socket.send(Message::text("over the sea")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("over the sea")
    );
}

#[tokio::test]
async fn local_again_as_soon_as_an_instance_is_back() {
    let two = two_regions().await;
    let client = client(&two.ca, two.near.https);
    assert_eq!(
        client
            .get("https://app.test/")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "far"
    );
    let local = Instance::start("near", two.agents[0].node_id).await;
    two.agents[0].holds(two.service, &local);
    let routes = two
        .routes
        .clone()
        .agent(&two.agents[0])
        .service(two.service, &[&local]);
    two.near
        .publish_and_settle(&routes, two.service, &[&local])
        .await;
    assert_eq!(
        client
            .get("https://app.test/")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "near"
    );
    local.kill().await;
    for _ in 0..10 {
        let answer = client
            .post("https://app.test/echo")
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.status(),
            200,
            "over to the other region without a failed request"
        );
    }
}

#[tokio::test]
async fn an_edge_that_starts_again_goes_on_with_the_instances_of_its_own_region() {
    let two = two_regions().await;
    let local = Instance::start("near", two.agents[0].node_id).await;
    two.agents[0].holds(two.service, &local);
    // Its first probe is still under way when the request comes.
    let health = Some("/slow?pieces=1&every_ms=100");
    let deployment = DeploymentId::new();
    let routes = two.routes.clone().agent(&two.agents[0]);
    let routes = routes.deployed(two.service, deployment, &[&local], health);
    two.near
        .publish_and_settle(&routes, two.service, &[&local])
        .await;
    until("the confirmation is on disk", async || {
        let path = two
            .near
            .access_log
            .with_file_name("confirmed-endpoints.json");
        let text = std::fs::read_to_string(path);
        text.is_ok_and(|text| text.contains(&local.address().to_string()))
    })
    .await;
    let near = two.near.restart(&routes).await;
    let answer = client(&two.ca, near.https).get("https://app.test/").send();
    assert_eq!(answer.await.unwrap().text().await.unwrap(), "near");
}

#[tokio::test]
async fn an_instance_of_another_region_that_is_away_for_a_moment_costs_no_request() {
    let two = two_regions().await;
    let spec = two.instance.spec;
    two.instance.kill().await;
    let client = client(&two.ca, two.near.https);
    let request = client.post("https://app.test/echo").body(vec![1; 1 << 20]);
    let answer = tokio::spawn(async move { request.send().await.unwrap() });
    until("the connection was refused", async || {
        let routes = two.far.running.state.routes.load();
        let pool = routes.service(two.service).unwrap();
        pool.endpoints().iter().all(|e| e.health() == Health::Down)
    })
    .await;
    let _back = Instance::start_again("far", spec).await;
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn nobody_anywhere_does_not_go_round_in_circles() {
    let two = two_regions().await;
    let nothing = two
        .routes
        .clone()
        .agent(&two.agents[1])
        .service(two.service, &[]);
    two.far.publish(&nothing);
    until("the far edge has none", async || {
        let routes = two.far.running.state.routes.load();
        routes
            .service(two.service)
            .is_some_and(|pool| pool.endpoints().is_empty())
    })
    .await;
    let answer = client(&two.ca, two.near.https)
        .get("https://app.test/")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["x-railhead-error"], "no_instance");
    assert_eq!(two.far.log(1).await.len(), 1);
    assert_eq!(two.near.log(1).await.len(), 1, "it came back");
}

#[tokio::test]
async fn only_regions_of_the_service_are_asked() {
    let two = two_regions().await;
    let resident = Routes::default()
        .certificate(&two.ca, &["app.test"])
        .hostname("app.test", two.service, &["us-east"])
        .edge(&two.near)
        .edge(&two.far)
        .agent(&two.agents[0])
        .service(two.service, &[]);
    two.near.publish(&resident);
    let client = client(&two.ca, two.near.https);
    until("the residency applies", async || {
        client
            .get("https://app.test/")
            .send()
            .await
            .unwrap()
            .status()
            == 503
    })
    .await;
    let before = two.instance.requests();
    client.get("https://app.test/").send().await.unwrap();
    assert_eq!(two.instance.requests(), before);
}

#[tokio::test]
async fn only_edges_of_the_platform_may_forward_even_with_an_expired_certificate() {
    let two = two_regions().await;
    let links = |identity| edge_proxy::forward::link::Links::new(identity);
    let far = two.far.item();
    assert!(
        links(two.ca.node_valid("us-east", Role::Edge, -30))
            .open(&far)
            .await
            .is_ok()
    );
    assert!(
        links(two.ca.node("us-east", Role::Agent))
            .open(&far)
            .await
            .is_err()
    );
    assert!(
        links(Ca::new().node("us-east", Role::Edge))
            .open(&far)
            .await
            .is_err()
    );
    let impostor = protocol::item::EdgeItem {
        node_id: domain::id::NodeId::new(),
        ..far
    };
    assert!(
        links(two.ca.node("us-east", Role::Edge))
            .open(&impostor)
            .await
            .is_err()
    );
}

/// A WebSocket from `near` through the tunnel to `far`.
async fn open_socket(two: &TwoRegions) -> impl futures::Stream<Item = Received> + Unpin {
    let tls = raw_tls(&two.ca, two.near.https, "app.test").await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("wss://app.test/ws", tls)
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket
}

type Received = Result<Message, tokio_tungstenite::tungstenite::Error>;

/// `node` hears that `other` was expelled.
fn expel(node: &Identity, other: &Identity) {
    let feed = FeedName::Node(node.node_id());
    node.denied().replace(&feed, [other.node_id()].into());
}

/// The requests that are under way end, and none is forwarded after that.
async fn is_cut(two: &TwoRegions, mut socket: impl futures::Stream<Item = Received> + Unpin) {
    let end = tokio::time::timeout(Duration::from_secs(2), socket.next()).await;
    let end = end.expect("cut within 2 s");
    assert!(matches!(end, None | Some(Err(_) | Ok(Message::Close(_)))));
    let answer = client(&two.ca, two.near.https)
        .get("https://app.test/")
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());
}

#[tokio::test]
async fn an_open_tunnel_from_an_edge_that_is_expelled_is_cut() {
    let two = two_regions().await;
    let socket = open_socket(&two).await;
    expel(&two.far.identity, &two.near.identity);
    is_cut(&two, socket).await;
}

#[tokio::test]
async fn an_open_tunnel_to_an_edge_that_is_expelled_is_cut() {
    let two = two_regions().await;
    let socket = open_socket(&two).await;
    expel(&two.near.identity, &two.far.identity);
    is_cut(&two, socket).await;
}
