//! Hostnames of one's own: what to do at the DNS provider, and what is missing there.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Asked, FakeApi, User, id, ok, page};

const REASON: &str =
    "www.example.com: there is no such name; set CNAME www.example.com web-shop.railhead.test";

fn domain(verified: bool) -> Value {
    let mut domain = json!({
        "id": id("dom", 1), "service_id": id("svc", 1), "hostname": "www.example.com",
        "kind": "custom", "created_at": "2026-01-01T00:00:00Z",
    });
    if verified {
        domain["verified_at"] = json!("2026-01-01T00:00:00Z");
    } else {
        domain["last_error"] = json!(REASON);
    }
    domain
}

fn service() -> Value {
    json!({
        "id": id("svc", 1), "organization_id": id("org", 1), "project_id": id("prj", 1),
        "environment_id": id("env", 1), "name": "web", "spec": {}, "active": true,
        "hostnames": ["web-shop.railhead.test"], "regions": {}, "blocked": {}, "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
    })
}

fn platform(asked: &Asked, verified: bool) -> axum::response::Response {
    let named = |prefix: &str, name: &str| page(&[json!({ "id": id(prefix, 1), "name": name })]);
    match (&asked.method, asked.path.split('/').next_back().unwrap()) {
        (_, "organizations") => named("org", "acme"),
        (_, "projects") => named("prj", "shop"),
        (_, "environments") => named("env", "production"),
        (_, "services") => page(&[service()]),
        (&Method::POST, "domains") => ok(&domain(verified)),
        (_, "domains") => page(&[domain(verified)]),
        _ => ok(&service()),
    }
}

#[tokio::test]
async fn adding_one_says_both_records() {
    let api = FakeApi::start(|asked| platform(asked, false)).await;
    let ran = User::new()
        .run(&api, &["domain", "add", "www.example.com"])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for record in [
        "CNAME  www.example.com  web-shop.railhead.test".to_owned(),
        format!(
            "TXT    _railhead.www.example.com  railhead-verification={}",
            id("org", 1)
        ),
    ] {
        assert!(ran.stderr.contains(&record), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn checking_one_exits_1_with_what_is_wrong_and_what_would_do() {
    let api = FakeApi::start(|asked| platform(asked, false)).await;
    let user = User::new();
    let ran = user
        .run(&api, &["domain", "check", "www.example.com"])
        .await;
    assert_eq!(ran.code, 1);
    let text = &ran.stderr;
    assert!(text.contains("there is no such name\n"), "{text}");
    assert!(text.contains("→ set CNAME www.example.com"), "{text}");
    let listed = user.run(&api, &["domain", "list"]).await;
    assert!(!listed.stdout.contains("set CNAME"), "{}", listed.stdout);

    let good = FakeApi::start(|asked| platform(asked, true)).await;
    let ran = user
        .run(&good, &["domain", "check", "www.example.com"])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}
