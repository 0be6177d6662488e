//! Requests that two servers could read in two ways never reach an instance.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Region, raw_tls};

async fn answer(region: &Region, request: &[u8]) -> String {
    let mut tls = raw_tls(&region.ca, region.edge.https, "app.test")
        .await
        .unwrap();
    tls.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(
        std::time::Duration::from_secs(5),
        tls.read_to_end(&mut answer),
    )
    .await;
    assert!(
        read.is_ok(),
        "held open: {:?}",
        String::from_utf8_lossy(request)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_battery_is_answered_with_400_and_nothing_reaches_the_instance() {
    let region = Region::start().await;
    let post =
        |lines: &str| format!("POST /echo HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n\r\n0\r\n\r\n");
    let mut battery: Vec<String> = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 5 5",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: a\0b",
        "X: a\rTransfer-Encoding: chunked",
        "X\n: y",
        "Host: other.test",
        "Bad{}Name: x",
    ]
    .into_iter()
    .map(post)
    .collect();
    battery.extend(
        [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: app.test\n\n",
            "GET / HTTP/1.1\r\nHost: app.test\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET foo:/admin HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET admin HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET ?/admin HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: app.test/x\r\n\r\n",
            "GET http://other.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: app.test\r\n\r\n",
            "GET /\x07 HTTP/1.1\r\nHost: app.test\r\n\r\n",
            "\0GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        ]
        .map(str::to_owned),
    );
    for request in &battery {
        let answer = answer(&region, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 "),
            "{request:?} → {answer:?}"
        );
    }
    assert_eq!(region.instance.requests(), 0);
}

#[tokio::test]
async fn connect_is_not_proxied() {
    let region = Region::start().await;
    let request = b"CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n";
    let answer = answer(&region, request).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn a_body_of_one_request_is_never_the_head_of_the_next() {
    let region = Region::start().await;
    let request =
        b"POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 47\r\nConnection: close\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: app.test\r\nX: yyy\r\n";
    let answer = answer(&region, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(region.instance.requests(), 1);
}
