//! Answers are compressed for clients that take it, whole and without delay.

use std::io::{Read as _, Write as _};

use domain::quantity::Span;
use protocol::item::RoutePolicy;
use reqwest::Response;

use crate::{
    forward::two_regions,
    support::{Region, client, http1_only},
};

const PAGE: &str = "/page?kind=text/html&bytes=50000";

async fn get(client: &reqwest::Client, url: &str, accept: &str) -> Response {
    let request = client.get(url).header("accept-encoding", accept);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

fn coding(answer: &Response) -> Option<&str> {
    let coding = answer.headers().get("content-encoding");
    coding.map(|coding| coding.to_str().unwrap())
}

fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut text),
        _ => zstd::stream::Decoder::new(body)
            .unwrap()
            .read_to_end(&mut text),
    };
    read.unwrap();
    text
}

#[tokio::test]
async fn each_coding_comes_out_as_it_went_in_on_both_versions() {
    let region = Region::start().await;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        for name in ["gzip", "br", "zstd"] {
            let answer = get(&client, &format!("https://app.test{PAGE}"), name).await;
            assert_eq!(coding(&answer), Some(name));
            assert_eq!(answer.headers()["vary"], "Accept-Encoding");
            assert_eq!(answer.headers()["etag"], "W/\"1\"");
            assert!(answer.content_length().is_none());
            let body = answer.bytes().await.unwrap();
            assert!(body.len() < 1_000, "{name}: {}", body.len());
            assert_eq!(decoded(name, &body), b"a".repeat(50_000));
        }
    }
}

#[tokio::test]
async fn what_shall_not_be_compressed_is_not() {
    let region = Region::start().await;
    let client = client(&region.ca, region.edge.https);
    for (path, accept) in [
        (PAGE, "gzip;q=0, br;q=0"),
        ("/page?kind=text/html&bytes=100", "gzip"),
        ("/page?kind=image/png&bytes=50000", "gzip"),
        (
            "/page?kind=text/html&bytes=50000&control=no-transform",
            "gzip",
        ),
        ("/stream?pieces=2&every_ms=1&kind=text/event-stream", "gzip"),
    ] {
        let answer = get(&client, &format!("https://app.test{path}"), accept).await;
        assert_eq!(coding(&answer), None, "{path}");
    }
}

#[tokio::test]
async fn a_stream_is_not_held_back() {
    let region = Region::start().await;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        let url = "https://app.test/stream?pieces=3&every_ms=500&kind=text/plain";
        let mut answer = get(&client, url, "gzip").await;
        assert_eq!(coding(&answer), Some("gzip"));
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        let mut seen = Vec::new();
        while let Some(piece) = answer.chunk().await.unwrap() {
            decoder.write_all(&piece).unwrap();
            decoder.flush().unwrap();
            seen.push(decoder.get_ref().len());
        }
        assert_eq!(decoder.get_ref(), b"0\n1\n2\n");
        assert_eq!(seen[0], 2, "the first piece came alone: {seen:?}");
    }
}

#[tokio::test]
async fn a_service_can_do_without_and_may_ask_for_https_only() {
    let region = Region::start().await;
    let policy = RoutePolicy {
        compression: Some(false),
        hsts: Some(Span::seconds(31_536_000)),
        ..RoutePolicy::default()
    };
    let routes = region.routes.clone();
    let routes = routes.hostname_by("own.wild.test", region.service, policy);
    let routes = routes.service(region.service, &[&region.instance]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&region.instance])
        .await;
    let client = client(&region.ca, region.edge.https);
    let answer = get(&client, &format!("https://own.wild.test{PAGE}"), "gzip").await;
    assert_eq!(coding(&answer), None);
    let hsts = "strict-transport-security";
    assert_eq!(answer.headers()[hsts], "max-age=31536000");
    let answer = get(&client, &format!("https://app.test{PAGE}"), "gzip").await;
    assert!(answer.headers().get(hsts).is_none());
}

#[tokio::test]
async fn another_regions_answer_is_compressed_there_and_once() {
    let two = two_regions().await;
    let client = client(&two.ca, two.near.https);
    let answer = get(&client, &format!("https://app.test{PAGE}"), "gzip").await;
    assert_eq!(coding(&answer), Some("gzip"));
    let body = answer.bytes().await.unwrap();
    assert_eq!(decoded("gzip", &body), b"a".repeat(50_000));
}
