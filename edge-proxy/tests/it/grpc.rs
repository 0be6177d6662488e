//! gRPC needs HTTP/2 up to the instance and back with its trailers, also through another region.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use domain::{id::ServiceId, spec::Timeouts};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use protocol::item::{HostnameItem, RoutePolicy};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsConnector;

use crate::{
    refused::prefer,
    support::{Agent, Ca, Instance, Region, Routes, TestEdge, tls_config},
};

/// Speaks HTTP/2 only, and answers each call with its size and `grpc-status` in the trailers.
pub async fn grpc_instance(node: domain::id::NodeId) -> Instance {
    mortal_grpc_instance(node).await.0
}

/// Ends when the task is aborted.
async fn mortal_grpc_instance(node: domain::id::NodeId) -> (Instance, JoinHandle<()>) {
    let mut instance = Instance::start("unused", node).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    instance.spec.address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tcp), hyper::service::service_fn(answer)),
            );
        }
    });
    (instance, serving)
}

type Frames = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

/// `/late`: the head at once, each frame after a while. `/never`: nothing.
async fn answer(request: Request<Incoming>) -> Result<Response<StreamBody<Frames>>, Infallible> {
    let pause = match request.uri().path() {
        "/never" => std::future::pending().await,
        "/late" => Duration::from_millis(600),
        _ => Duration::ZERO,
    };
    let collected = request.into_body().collect().await.unwrap();
    let size = collected.to_bytes().len();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok(Frame::data(Bytes::from(size.to_string()))),
        Ok(Frame::trailers(trailers)),
    ];
    let frames = stream::iter(frames).then(move |frame| async move {
        tokio::time::sleep(pause).await;
        frame
    });
    let mut response = Response::new(StreamBody::new(frames.boxed()));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

pub type Caller = SendRequest<Full<Bytes>>;

pub async fn connect(ca: &Ca, edge: SocketAddr, host: &'static str) -> Caller {
    let tcp = tokio::net::TcpStream::connect(edge).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from(host).unwrap();
    let tls = TlsConnector::from(tls_config(ca, &["h2"]))
        .connect(name, tcp)
        .await
        .unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(url: &str, size: usize) -> Request<Full<Bytes>> {
    Request::post(url)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(vec![1; size])))
        .unwrap()
}

pub async fn ends_well(response: Response<Incoming>, size: usize) {
    assert_eq!(response.status(), 200);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), size.to_string());
}

async fn call(ca: &Ca, edge: SocketAddr) {
    let mut sender = connect(ca, edge, "app.test").await;
    for size in [0_usize, 5, 100_000] {
        let request = request("https://app.test/package.Service/Method", size);
        let response = sender.send_request(request).await.unwrap();
        ends_well(response, size).await;
    }
}

#[tokio::test]
async fn trailers_pass() {
    let region = Region::start().await;
    let instance = grpc_instance(region.agent.node_id).await;
    region.agent.holds(region.service, &instance);
    let routes = region.routes.clone().service(region.service, &[&instance]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&instance])
        .await;
    call(&region.ca, region.edge.https).await;
}

#[tokio::test]
async fn trailers_pass_through_another_region() {
    let ca = Ca::new();
    let agent = Agent::start(&ca, "eu-west").await;
    let service = ServiceId::new();
    let instance = grpc_instance(agent.node_id).await;
    agent.holds(service, &instance);
    let routes = Routes::default().certificate(&ca, &["app.test"]).hostname(
        "app.test",
        service,
        &["eu-west"],
    );
    let there = routes.clone().agent(&agent).service(service, &[&instance]);
    let far = TestEdge::start(&ca, "eu-west", &there).await;
    far.usable(service, &[&instance]).await;
    let near = TestEdge::start(&ca, "us-east", &routes.edge(&far)).await;
    call(&ca, near.https).await;
}

#[tokio::test]
async fn a_call_that_one_instance_refuses_goes_to_another() {
    let region = Region::start().await;
    let living = grpc_instance(region.agent.node_id).await;
    region.agent.holds(region.service, &living);
    for _ in 0..20 {
        let (dead, serving) = mortal_grpc_instance(region.agent.node_id).await;
        region.agent.holds(region.service, &dead);
        let both = [&living, &dead];
        let routes = region.routes.clone().service(region.service, &both);
        region
            .edge
            .publish_and_settle(&routes, region.service, &both)
            .await;
        prefer(&region, &dead);
        serving.abort();
        let _ = serving.await;
        call(&region.ca, region.edge.https).await;
        let log = region.edge.log(1).await;
        if log.iter().any(|line| line["tries"] == 2) {
            return;
        }
    }
    panic!("no call was ever refused");
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_no_other_of_its_connection() {
    let region = Region::start().await;
    let instance = grpc_instance(region.agent.node_id).await;
    region.agent.holds(region.service, &instance);
    let impatient = HostnameItem {
        hostname: "impatient.wild.test".into(),
        service_id: region.service,
        regions: vec!["us-east".parse().unwrap()],
        https_redirect: false,
        timeouts: Timeouts {
            first_byte: "300ms".parse().unwrap(),
            ..Timeouts::default()
        },
        max_body: None,
        path: None,
        policy: RoutePolicy::default(),
    };
    let routes = region
        .routes
        .clone()
        .hostname_with(impatient)
        .service(region.service, &[&instance]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&instance])
        .await;

    let mut caller = connect(&region.ca, region.edge.https, "impatient.wild.test").await;
    let late = request("https://impatient.wild.test/late", 7);
    let late = caller.send_request(late).await.unwrap();
    let never = caller.send_request(request("https://impatient.wild.test/never", 0));
    let _unanswered = tokio::spawn(never);
    ends_well(late, 7).await;
}
