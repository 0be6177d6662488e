//! TLS by server name, limits before a request, connections.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Region, client, http1_only, raw, raw_tls, until};

#[tokio::test]
async fn http2_and_http1_by_alpn_over_the_certificate_of_the_name() {
    let region = Region::start().await;
    for (host, version) in [
        ("app.test", http::Version::HTTP_2),
        ("x.wild.test", http::Version::HTTP_2),
    ] {
        let answer = client(&region.ca, region.edge.https)
            .get(format!("https://{host}/"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.text().await.unwrap(), "one");
    }
    let answer = http1_only(&region.ca, region.edge.https)
        .get("https://app.test/")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
}

#[tokio::test]
async fn an_unknown_name_gets_the_alert_for_it() {
    let region = Region::start().await;
    let error = raw_tls(&region.ca, region.edge.https, "nobody.test")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
}

#[tokio::test]
async fn a_host_outside_the_certificate_is_misdirected() {
    let region = Region::start().await;
    let mut tls = raw_tls(&region.ca, region.edge.https, "app.test")
        .await
        .unwrap();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: x.wild.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(
        answer.contains("x-railhead-error: misdirected_request"),
        "{answer}"
    );
}

#[tokio::test]
async fn plain_http_is_redirected() {
    let region = Region::start().await;
    let request = b"GET /a?b=c HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    let answer = raw(region.edge.http, request).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 308 "), "{answer}");
    assert!(
        answer.contains("location: https://app.test/a?b=c\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_at_its_deadline() {
    let region = Region::start().await;
    let mut tls = raw_tls(&region.ca, region.edge.https, "app.test")
        .await
        .unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n")
        .await
        .unwrap();
    loop {
        let piece =
            tokio::time::timeout(Duration::from_millis(500), tls.read_buf(&mut answer)).await;
        match piece {
            Ok(_) => break,
            Err(_) => tls.write_all(b"X: y\r\n").await.unwrap(),
        }
        assert!(begun.elapsed() < Duration::from_secs(14), "still open");
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(begun.elapsed() >= Duration::from_secs(9));
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_at_its_deadline() {
    let region = Region::start().await;
    let mut tcp = tokio::net::TcpStream::connect(region.edge.https)
        .await
        .unwrap();
    tcp.write_all(&[0x16, 3, 1]).await.unwrap();
    let begun = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(8), tcp.read(&mut [0; 16])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    assert!(begun.elapsed() >= Duration::from_secs(4));
}

#[tokio::test]
async fn large_heads_are_refused_on_both_versions() {
    let region = Region::start().await;
    let long = "x".repeat(40 * 1024);
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        let answer = client
            .get("https://app.test/")
            .header("x-long", &long)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 431);
        let mut many = client.get("https://app.test/");
        for n in 0..110 {
            many = many.header(format!("x-{n}"), "y");
        }
        assert_eq!(many.send().await.unwrap().status(), 431);
    }
    assert_eq!(region.instance.requests(), 0);
}

#[tokio::test]
async fn a_bad_certificate_is_refused_and_the_last_good_one_serves_on() {
    let region = Region::start().await;
    let mut routes = region
        .routes
        .clone()
        .service(region.service, &[&region.instance]);
    for item in &mut routes.global {
        if let protocol::item::GlobalRouteItem::Certificate(certificate) = item {
            certificate.chain = "rubbish".into();
        }
    }
    routes = routes.hostname("new.wild.test", region.service, &["us-east"]);
    region.edge.publish(&routes);
    let client = client(&region.ca, region.edge.https);
    until("the other items of the commit apply", async || {
        region.edge.running.state.routes.load().hostnames() == 3
    })
    .await;
    let answer = client.get("https://app.test/").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn sessions_are_resumed() {
    let region = Region::start().await;
    let config = crate::support::tls_config(&region.ca, &["http/1.1"]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let tcp = tokio::net::TcpStream::connect(region.edge.https)
            .await
            .unwrap();
        let name = rustls_pki_types::ServerName::try_from("app.test").unwrap();
        let mut tls = tokio_rustls::TlsConnector::from(config.clone())
            .connect(name, tcp)
            .await
            .unwrap();
        tls.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        tls.read_to_string(&mut String::new()).await.unwrap();
        kinds.push(tls.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds[1], rustls::HandshakeKind::Resumed);
}

#[tokio::test]
async fn one_address_has_a_limited_number_of_connections() {
    let region = Region::start().await;
    let mut open = Vec::new();
    for _ in 0..crate::support::CONNECTIONS_PER_ADDRESS {
        open.push(
            tokio::net::TcpStream::connect(region.edge.http)
                .await
                .unwrap(),
        );
    }
    until("the next one is turned away", async || {
        let mut next = tokio::net::TcpStream::connect(region.edge.http)
            .await
            .unwrap();
        let read = tokio::time::timeout(Duration::from_millis(200), next.read(&mut [0; 1])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    })
    .await;
    drop(open);
    until("places are free again", async || {
        let request = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
        let mut tcp = tokio::net::TcpStream::connect(region.edge.http)
            .await
            .unwrap();
        let mut answer = String::new();
        tcp.write_all(request).await.is_ok()
            && tcp.read_to_string(&mut answer).await.is_ok()
            && answer.starts_with("HTTP/1.1 308")
    })
    .await;
}
