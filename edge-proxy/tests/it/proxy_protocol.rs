//! Users who come through a load balancer: the edge takes its word for who they are, and nobody else's.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::support::{CONNECTIONS_PER_ADDRESS, Region, raw, through_balancer, tls_config};

const USER: &str = "203.0.113.7";

fn v1(user: &str) -> Vec<u8> {
    format!("PROXY TCP4 {user} 10.0.0.1 4711 443\r\n").into()
}

/// Of [`USER`].
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x12\x67\x01\xbb";

/// Which headers an instance gets of a request on this connection.
async fn headers(mut connection: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
    let request = b"GET /headers HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_balancer_names_the_user_in_either_version_before_tls() {
    let region = Region::start().await;
    for (n, header) in [v1(USER), V2.to_vec()].into_iter().enumerate() {
        let tcp = through_balancer(region.edge.https, &header).await;
        let connector = TlsConnector::from(tls_config(&region.ca, &["http/1.1"]));
        let name = "app.test".try_into().unwrap();
        let answer = headers(connector.connect(name, tcp).await.unwrap()).await;
        for header in ["x-forwarded-for", "x-real-ip"] {
            let said = format!("\"{header}\":\"{USER}\"");
            assert!(answer.contains(&said), "no {said} in {answer}");
        }
        let log = region.edge.log(n + 1).await;
        assert_eq!(log[n]["client"], USER);
    }
}

#[tokio::test]
async fn a_balancer_names_the_user_on_the_plain_port() {
    let region = Region::start().await;
    let tcp = through_balancer(region.edge.http, V2).await;
    assert!(headers(tcp).await.starts_with("HTTP/1.1 308"));
    assert_eq!(region.edge.log(1).await[0]["client"], USER);
}

#[tokio::test]
async fn a_balancer_that_says_nothing_is_refused_and_a_strangers_word_is_none() {
    let region = Region::start().await;
    let request = b"GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
    let mut tcp = through_balancer(region.edge.http, request).await;
    let mut answer = Vec::new();
    // Ended or reset: what it had sent is not read.
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(answer.is_empty());

    let said = [&v1(USER), &request[..]].concat();
    let answer = raw(region.edge.http, &said).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let log = region.edge.log(1).await;
    assert_eq!(log[0]["client"], "127.0.0.1");
}

#[tokio::test]
async fn the_limit_of_connections_is_each_users_and_not_the_balancers() {
    let region = Region::start().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_PER_ADDRESS {
        open.push(through_balancer(region.edge.http, &v1(USER)).await);
    }
    let mut one_more = through_balancer(region.edge.http, &v1(USER)).await;
    assert_eq!(one_more.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);

    let other: IpAddr = "203.0.113.8".parse().unwrap();
    let tcp = through_balancer(region.edge.http, &v1(&other.to_string())).await;
    assert!(headers(tcp).await.starts_with("HTTP/1.1 308"));
    drop(open);
}
