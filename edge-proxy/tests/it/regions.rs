//! Which region answers: the nearest one, the next one when that has nobody, or the one that an instance names.

use std::{net::SocketAddr, time::Duration};

use domain::id::ServiceId;
use protocol::item::EdgeItem;
use reqwest::Response;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    forward::{TwoRegions, two_regions},
    support::{Agent, Ca, Instance, Routes, TestEdge, client, until},
};

/// What goes there and back is late by so long.
async fn far_away(from: SocketAddr, late: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = TcpStream::connect(from).await.unwrap().into_split();
            tokio::spawn(carry(near_read, far_write, late));
            tokio::spawn(carry(far_read, near_write, late));
        }
    });
    address
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, late: Duration) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(late).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

struct Far {
    edge: TestEdge,
    agent: Agent,
    instance: Instance,
}

impl Far {
    async fn start(ca: &Ca, region: &'static str, service: ServiceId, routes: &Routes) -> Self {
        let agent = Agent::start(ca, region).await;
        let instance = Instance::start(region, agent.node_id).await;
        agent.holds(service, &instance);
        let here = routes.clone().agent(&agent);
        let edge = TestEdge::start(ca, region, &here.service(service, &[&instance])).await;
        edge.usable(service, &[&instance]).await;
        Self {
            edge,
            agent,
            instance,
        }
    }

    fn at(&self, forward_address: SocketAddr) -> EdgeItem {
        EdgeItem {
            forward_address,
            ..self.edge.item()
        }
    }
}

/// An edge without instances, and two regions with one each, of which the first is far away.
async fn world() -> (Ca, ServiceId, TestEdge, [Far; 2], Routes) {
    let (ca, service) = (Ca::new(), ServiceId::new());
    let regions = ["us-east", "eu-west", "ap-south"];
    let routes = Routes::default()
        .certificate(&ca, &["app.test"])
        .hostname("app.test", service, &regions);
    let far = Far::start(&ca, "eu-west", service, &routes).await;
    let near = Far::start(&ca, "ap-south", service, &routes).await;
    let door = far_away(far.edge.forward, Duration::from_millis(60)).await;
    let edges = [far.at(door), near.at(near.edge.forward)];
    let known = edges.into_iter().fold(routes.clone(), Routes::edge_item);
    let edge = TestEdge::start(&ca, "us-east", &known).await;
    (ca, service, edge, [far, near], routes)
}

async fn answers(ca: &Ca, edge: &TestEdge) -> String {
    let answer = client(ca, edge.https).get("https://app.test/").send();
    answer.await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_nearest_region_answers_and_the_next_one_when_that_has_nobody() {
    let (ca, service, edge, [far, near], routes) = world().await;
    until("both were measured", async || {
        let mut same = 0;
        while same < 5 && answers(&ca, &edge).await == "ap-south" {
            same += 1;
        }
        same == 5
    })
    .await;
    let nobody = routes.clone().agent(&near.agent).service(service, &[]);
    near.edge.publish(&nobody);
    near.instance.kill().await;
    until("the other one answers", async || {
        answers(&ca, &edge).await == "eu-west"
    })
    .await;
    assert!(far.instance.requests() > 0);
}

/// `near` has an instance as well.
async fn with_local() -> (TwoRegions, Instance) {
    let two = two_regions().await;
    let local = Instance::start("near", two.agents[0].node_id).await;
    two.agents[0].holds(two.service, &local);
    let routes = two.routes.clone().agent(&two.agents[0]);
    let routes = routes.service(two.service, &[&local]);
    two.near
        .publish_and_settle(&routes, two.service, &[&local])
        .await;
    (two, local)
}

async fn give_back(two: &TwoRegions, to: &str, body: usize) -> Response {
    client(&two.ca, two.near.https)
        .post("https://app.test/give-back")
        .query(&[("to", to)])
        .header("fly-replay-src", "region=mars")
        .body(vec![1; body])
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_instance_sends_a_request_to_another_region() {
    let (two, local) = with_local().await;
    let answer = give_back(&two, "region=eu-west;state=moved", 1000).await;
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    let source = format!("instance={};region=us-east;t=", local.spec.instance_id);
    assert!(text.starts_with(&format!("far 1000 {source}")), "{text}");
    assert!(text.ends_with(";state=moved"), "{text}");
    assert_eq!((local.requests(), two.instance.requests()), (1, 1));
}

#[tokio::test]
async fn an_instance_names_another_one_here_or_there() {
    let (two, local) = with_local().await;
    let second = Instance::start("second", two.agents[0].node_id).await;
    two.agents[0].holds(two.service, &second);
    let here = two.routes.clone().agent(&two.agents[0]);
    let here = here.service(two.service, &[&local, &second]);
    two.near
        .publish_and_settle(&here, two.service, &[&local, &second])
        .await;
    for wanted in [&local, &second] {
        let to = format!("instance={}", wanted.spec.instance_id);
        let text = give_back(&two, &to, 0).await.text().await.unwrap();
        let source = text.split(' ').next().unwrap();
        let name = if wanted.spec == local.spec {
            "near"
        } else {
            "second"
        };
        assert_eq!(source, name, "{text}");
    }
    let to = format!("region=eu-west;instance={}", two.instance.spec.instance_id);
    let text = give_back(&two, &to, 0).await.text().await.unwrap();
    assert!(text.starts_with("far 0 "), "{text}");
}

#[tokio::test]
async fn what_is_not_understood_or_can_not_be_repeated_goes_to_the_user() {
    let (two, local) = with_local().await;
    for (to, body) in [
        ("app=other", 0),
        ("region=mars", 0),
        // More than is kept of a body.
        ("region=eu-west", 1 << 20),
    ] {
        let answer = give_back(&two, to, body).await;
        assert_eq!(answer.status(), 409, "{to}");
        assert_eq!(answer.headers()["fly-replay"], to);
    }
    assert_eq!((local.requests(), two.instance.requests()), (3, 0));
}
