use std::time::Duration;

use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::sync::mpsc;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An OTLP collector that hands on what it gets.
async fn sink() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let (sender, received) = mpsc::channel(8);
    let take = move |body: Bytes| async move {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        sender.send(request).await.unwrap();
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

/// The one test of this process that installs the global subscriber.
#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_in_the_trace_of_their_parent() {
    telemetry::init_crypto();
    let (url, mut received) = sink().await;
    let config = telemetry::Config {
        service: "agent",
        otlp_endpoint: Some(url),
        log_filter: Some("off".to_owned()),
    };
    let guard = telemetry::init(&config).unwrap();
    assert!(telemetry::init(&config).is_err());

    let span = tracing::info_span!("start instance");
    telemetry::context::set_parent(&span, PARENT);
    let traceparent = span.in_scope(telemetry::context::current_traceparent);
    assert_eq!(traceparent.unwrap()[..36], PARENT[..36]);
    drop(span);
    tokio::task::spawn_blocking(|| drop(guard)).await.unwrap();

    let request = tokio::time::timeout(Duration::from_secs(10), received.recv())
        .await
        .unwrap()
        .unwrap();
    let scope = &request.resource_spans[0];
    let attributes = format!("{:?}", scope.resource);
    assert!(attributes.contains("service.name") && attributes.contains("agent"));
    let span = &scope.scope_spans[0].spans[0];
    assert_eq!(span.name, "start instance");
    assert_eq!(hex(&span.trace_id), PARENT[3..35]);
    assert_eq!(hex(&span.parent_span_id), PARENT[36..52]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_filter_that_is_none_is_named() {
    let config = telemetry::Config {
        service: "agent",
        otlp_endpoint: None,
        log_filter: Some("agent=loud".to_owned()),
    };
    let error = telemetry::init(&config).unwrap_err();
    assert!(error.to_string().contains("agent=loud"), "{error}");
}
