//! WebSockets pass, and end with a close frame when their instance or their edge goes.

use std::time::Duration;

use domain::spec::Timeouts;
use futures::{SinkExt, StreamExt};
use protocol::item::{HostnameItem, RoutePolicy};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use crate::support::{Region, raw_tls};

async fn connect(region: &Region) -> WebSocketStream<TlsStream<TcpStream>> {
    connect_to(region, "app.test").await
}

async fn connect_to(region: &Region, host: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let tls = raw_tls(&region.ca, region.edge.https, host).await.unwrap();
    let (mut socket, answer) = tokio_tungstenite::client_async(format!("wss://{host}/ws"), tls)
        .await
        .unwrap();
    assert_eq!(answer.status(), 101);
    echo(&mut socket, "first").await;
    socket
}

async fn echo(socket: &mut WebSocketStream<TlsStream<TcpStream>>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

async fn assert_goes_away(mut socket: WebSocketStream<TlsStream<TcpStream>>) {
    let last = tokio::time::timeout(Duration::from_secs(5), socket.next())
        .await
        .unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = last else {
        panic!("not closed in order: {last:?}");
    };
    assert_eq!(frame.code, CloseCode::Away);
}

#[tokio::test]
async fn messages_pass() {
    let region = Region::start().await;
    let mut socket = connect(&region).await;
    for size in [0, 1, 125, 126, 70_000] {
        echo(&mut socket, &"x".repeat(size)).await;
    }
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        assert!(message.is_ok(), "{message:?}");
    }
}

#[tokio::test]
async fn the_end_of_the_edge_is_told() {
    let region = Region::start().await;
    let socket = connect(&region).await;
    let drain = region.edge.running.drain.clone();
    let draining = tokio::spawn(async move { drain.run(Duration::from_millis(200)).await });
    assert_goes_away(socket).await;
    draining.await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_instance_is_told() {
    let region = Region::start().await;
    let agent = &region.agent;
    let mortal = crate::support::MortalSocket::start(agent.node_id).await;
    agent.holds(region.service, &mortal.instance);
    let routes = region
        .routes
        .clone()
        .service(region.service, &[&mortal.instance]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&mortal.instance])
        .await;
    let socket = connect(&region).await;
    mortal.cut();
    assert_goes_away(socket).await;
}

#[tokio::test]
async fn silence_ends_a_socket_where_the_service_sets_a_limit_and_the_total_time_does_not() {
    let region = Region::start().await;
    let hostname = HostnameItem {
        hostname: "quiet.wild.test".into(),
        service_id: region.service,
        regions: vec!["us-east".parse().unwrap()],
        https_redirect: true,
        timeouts: Timeouts {
            first_byte: "500ms".parse().unwrap(),
            web_socket_idle: "500ms".parse().unwrap(),
            total: "1s".parse().unwrap(),
            ..Timeouts::default()
        },
        max_body: None,
        path: None,
        policy: RoutePolicy::default(),
    };
    let routes = region.routes.clone().hostname_with(hostname);
    let routes = routes.service(region.service, &[&region.instance]);
    let usable = [&region.instance];
    region
        .edge
        .publish_and_settle(&routes, region.service, &usable)
        .await;
    let mut socket = connect_to(&region, "quiet.wild.test").await;
    for n in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        echo(&mut socket, &n.to_string()).await;
    }
    assert_goes_away(socket).await;
}
