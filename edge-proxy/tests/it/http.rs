//! What instances and users see of a request.

use std::time::{Duration, Instant};

use domain::{
    quantity::{Bytes, Span},
    spec::Timeouts,
};
use protocol::item::{HostnameItem, RoutePolicy};

use crate::support::{Region, client, http1_only, raw};

fn hostname(region: &Region, timeouts: Timeouts, max_body: Option<Bytes>) -> HostnameItem {
    HostnameItem {
        hostname: "limits.wild.test".into(),
        service_id: region.service,
        regions: vec!["us-east".parse().unwrap()],
        https_redirect: false,
        timeouts,
        max_body,
        path: None,
        policy: RoutePolicy::default(),
    }
}

async fn with_limits(timeouts: Timeouts, max_body: Option<Bytes>) -> Region {
    let region = Region::start().await;
    let routes = region
        .routes
        .clone()
        .hostname_with(hostname(&region, timeouts, max_body))
        .service(region.service, &[&region.instance]);
    region
        .edge
        .publish_and_settle(&routes, region.service, &[&region.instance])
        .await;
    region
}

#[tokio::test]
async fn the_edges_headers_replace_what_the_user_claims() {
    let region = Region::start().await;
    let seen: serde_json::Value = client(&region.ca, region.edge.https)
        .get("https://app.test/headers?q=1")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x_forwarded_for", "6.6.6.6")
        .header("x_real-ip", "6.6.6.6")
        .header("x_own", "stays")
        .header("x-request-id", "mine")
        .header("x-railhead-hop", "0")
        .header("x-railhead-region", "mars")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("forwarded", "for=6.6.6.6")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["x-real-ip"], "127.0.0.1");
    assert_eq!(seen["x-forwarded-proto"], "https");
    assert_eq!(seen["x-forwarded-host"], "app.test");
    assert_eq!(seen["x-railhead-region"], "us-east");
    assert_eq!(seen["host"], "app.test");
    assert_eq!(seen["_uri"], "/headers?q=1");
    assert_ne!(seen["x-request-id"], "mine");
    assert!(
        !seen["traceparent"]
            .as_str()
            .unwrap()
            .contains("0af7651916cd43dd")
    );
    assert!(
        seen["x-request-start"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert_eq!(seen["x_own"], "stays");
    for absent in [
        "x-railhead-hop",
        "forwarded",
        "x_forwarded_for",
        "x_real-ip",
    ] {
        assert!(seen.get(absent).is_none(), "{absent}");
    }
}

#[tokio::test]
async fn bodies_pass_in_both_directions_and_are_counted() {
    let region = Region::start().await;
    let body = vec![7_u8; 1 << 20];
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        let answer = client
            .post("https://app.test/echo")
            .body(body.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap(), (1 << 20).to_string());
    }
    let log = region.edge.log(2).await;
    assert_eq!(log[0]["received"], 1 << 20);
    assert_eq!(log[0]["status"], 200);
    assert_eq!(log[0]["protocol"], "HTTP/2");
    assert_eq!(log[1]["protocol"], "HTTP/1.1");
    assert_eq!(
        log[0]["instance_id"],
        region.instance.spec.instance_id.to_string()
    );
}

#[tokio::test]
async fn an_answer_of_the_application_is_not_changed_and_not_counted_as_failed() {
    let region = Region::start().await;
    let answer = client(&region.ca, region.edge.https)
        .get("https://app.test/error")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 500);
    assert!(answer.headers().get("x-railhead-error").is_none());
    assert!(answer.headers().get("x-request-id").is_some());
    assert_eq!(answer.text().await.unwrap(), "mine");
    region.edge.log(1).await;
    let counts: Vec<_> = region
        .edge
        .running
        .state
        .counters
        .snapshot()
        .into_values()
        .collect();
    assert_eq!((counts[0].requests, counts[0].failed), (1, 0));
}

#[tokio::test]
async fn answers_of_the_edge_say_so_in_the_form_that_is_accepted() {
    let region = Region::start().await;
    let client = client(&region.ca, region.edge.https);
    let answer = client.get("https://none.wild.test/").send().await.unwrap();
    assert_eq!(answer.status(), 200, "covered by the wildcard");
    let request =
        b"GET / HTTP/1.1\r\nHost: nobody.test\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    let answer = raw(region.edge.http, request).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(
        answer.contains("x-railhead-error: unknown_host") && answer.contains("<h1>"),
        "{answer}"
    );
    let request = b"GET / HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n";
    let answer = raw(region.edge.http, request).await;
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn the_first_byte_has_its_own_limit_on_both_versions() {
    let timeouts = Timeouts {
        first_byte: "300ms".parse().unwrap(),
        ..Timeouts::default()
    };
    let region = with_limits(timeouts, None).await;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        let begun = Instant::now();
        let answer = client
            .get("https://limits.wild.test/slow?pieces=0&every_ms=3000")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.headers()["x-railhead-error"], "first_byte_timeout");
        assert!(begun.elapsed() < Duration::from_secs(2));
        let answer = client
            .get("https://limits.wild.test/stream?pieces=4&every_ms=400")
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.text().await.unwrap(),
            "0\n1\n2\n3\n",
            "silence later on is no matter of the first byte"
        );
    }
}

#[tokio::test]
async fn the_whole_answer_has_a_limit_where_the_service_sets_one() {
    let timeouts = Timeouts {
        total: "600ms".parse().unwrap(),
        ..Timeouts::default()
    };
    let region = with_limits(timeouts, None).await;
    for client in [
        client(&region.ca, region.edge.https),
        http1_only(&region.ca, region.edge.https),
    ] {
        let get = async |path: &str| {
            let url = format!("https://limits.wild.test{path}");
            client.get(url).send().await.unwrap()
        };
        let answer = get("/slow?pieces=0&every_ms=10000").await;
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.headers()["x-railhead-error"], "total_timeout");
        let answer = get("/stream?pieces=100&every_ms=100").await;
        assert_eq!(answer.status(), 200, "it begins in time");
        assert!(answer.text().await.is_err(), "it is cut at the limit");
        let answer = get("/stream?pieces=2&every_ms=10").await;
        assert_eq!(answer.text().await.unwrap(), "0\n1\n");
    }
    let routes = region.edge.running.state.routes.load();
    let pool = routes.service(region.service).unwrap();
    assert!(pool.endpoints().iter().all(|e| e.is_usable()));
}

#[tokio::test]
async fn bodies_beyond_the_services_limit_are_refused_with_and_without_length() {
    let region = with_limits(Timeouts::default(), Some(Bytes(1000))).await;
    let client = client(&region.ca, region.edge.https);
    let url = "https://limits.wild.test/echo";
    let answer = client.post(url).body(vec![0; 1001]).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["x-railhead-error"], "body_too_large");
    let pieces = tokio_stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 100])));
    let answer = client
        .post(url)
        .body(reqwest::Body::wrap_stream(pieces))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    let answer = client.post(url).body(vec![0; 1000]).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn plain_http_is_served_where_the_service_wants_it() {
    let region = with_limits(
        Timeouts {
            idle: Span::seconds(0),
            ..Timeouts::default()
        },
        None,
    )
    .await;
    let request = b"GET / HTTP/1.1\r\nHost: limits.wild.test\r\nConnection: close\r\n\r\n";
    let answer = raw(region.edge.http, request).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("one"),
        "{answer}"
    );
}

#[tokio::test]
async fn many_requests_on_one_connection() {
    let region = Region::start().await;
    let client = http1_only(&region.ca, region.edge.https);
    for _ in 0..50 {
        assert_eq!(
            client
                .get("https://app.test/")
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap(),
            "one"
        );
    }
    assert_eq!(region.instance.requests(), 50);
}

#[tokio::test]
async fn what_a_client_makes_long_is_cut_in_the_log() {
    let region = Region::start().await;
    let path = "p".repeat(20_000);
    let answer = http1_only(&region.ca, region.edge.https)
        .get(format!("https://app.test/{path}"))
        .header("user-agent", "u".repeat(5_000))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    let log = region.edge.log(1).await;
    for field in ["path", "user_agent"] {
        assert_eq!(log[0][field].as_str().unwrap().len(), 1024, "{field}");
    }
}
