//! gRPC needs HTTP/2 up to the instance and back with its trailers, also through another region.

use std::convert::Infallible;

use bytes::Bytes;
use domain::id::ServiceId;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsConnector;

use crate::{
    refused::prefer,
    support::{Agent, Ca, Instance, Region, Routes, TestEdge, tls_config},
};

/// Speaks HTTP/2 only, and answers each call with its size and `grpc-status` in the trailers.
async fn grpc_instance(node: domain::id::NodeId) -> Instance {
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

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let size = request
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .len();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok(Frame::data(Bytes::from(size.to_string()))),
        Ok(Frame::trailers(trailers)),
    ];
    let mut response = Response::new(StreamBody::new(tokio_stream::iter(frames)));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

async fn call(ca: &Ca, edge: std::net::SocketAddr) {
    let tcp = tokio::net::TcpStream::connect(edge).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("app.test").unwrap();
    let tls = TlsConnector::from(tls_config(ca, &["h2"]))
        .connect(name, tcp)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    for size in [0_usize, 5, 100_000] {
        let request = Request::post("https://app.test/package.Service/Method")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(vec![1; size])))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), size.to_string());
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
