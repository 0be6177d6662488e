//! Edge rules as users, instances and operators see them.

use std::{path::Path, sync::Arc};

use domain::spec::PasswordHash;
use mmdb_writer::{Value, Writer};
use protocol::{item::RoutePolicy, join::Role};
use serde_json::json;

use crate::{
    forward::two_regions,
    support::{Extras, Region, TestEdge, as_user, client, until},
};

const USER: &str = "203.0.113.7";
/// Served over HTTP, so that users can come from anywhere.
const HOST: &str = "plain.test";

/// A region whose service has these rules.
async fn with_rules(rules: serde_json::Value) -> Region {
    let region = Region::start().await;
    publish(&region, rules).await;
    region
}

async fn publish(region: &Region, rules: serde_json::Value) {
    let routes = region
        .routes
        .clone()
        .plain_hostname(HOST, region.service)
        .rules(region.service, rules)
        .service(region.service, &[&region.instance]);
    let edge = &region.edge;
    edge.publish(&routes);
    until("the rules are there", async || {
        let routes = edge.running.state.routes.load();
        routes.route(HOST, "/").is_some() && routes.rules(region.service).is_some()
    })
    .await;
    edge.usable(region.service, &[&region.instance]).await;
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{more}connection: close\r\n\r\n")
}

async fn answer(region: &Region, path: &str, more: &str) -> String {
    as_user(region.edge.http, USER, &get(path, more)).await
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).unwrap_or_default().parse().unwrap()
}

#[tokio::test]
async fn each_action_does_what_it_says() {
    let hash = PasswordHash::new("long and random", [3; 16]);
    let region = with_rules(json!([
        { "if": "request.path == '/open'", "then": { "action": "allow" } },
        { "if": "request.path.startsWith('/admin')", "then": { "action": "block", "status": 404 } },
        { "if": "request.path == '/old'",
          "then": { "action": "redirect", "to": "https://www.example.com{path}{query}", "status": 301 } },
        { "if": "request.path.startsWith('/staff')",
          "then": { "action": "basic_auth", "realm": "Staff", "users": { "alice": hash } } },
        { "if": "request.path == '/closed'",
          "then": { "action": "maintenance", "retry_after": "10m", "message": "Back <soon>." } },
        { "if": "request.path.startsWith('/staff') || request.path.startsWith('/api')",
          "then": { "action": "rewrite", "path": "{path}", "strip_prefix": "/api" } },
        { "if": "request.path.startsWith('/api')",
          "then": { "action": "headers",
                    "request": { "set": { "x-edge": "yes" }, "remove": ["x-debug"] },
                    "response": { "set": { "x-frame-options": "DENY" }, "remove": ["content-type"] } } },
    ]))
    .await;
    for path in ["/admin", "/%61dmin/x", "//admin", "/x/../admin"] {
        let answer = answer(&region, path, "").await;
        assert_eq!(status(&answer), 404, "{path}: {answer}");
        assert!(answer.contains("x-railhead-error: blocked"), "{answer}");
    }
    let answer_to = async |path: &str, more: &str| answer(&region, path, more).await;

    let moved = answer_to("/old?a=b", "").await;
    assert_eq!(status(&moved), 301);
    assert!(moved.contains("https://www.example.com/old?a=b"), "{moved}");

    let asked = answer_to("/staff", "").await;
    assert_eq!(status(&asked), 401);
    assert!(asked.contains("Basic realm=\"Staff\""), "{asked}");
    // alice:long and random
    let authorization = "authorization: Basic YWxpY2U6bG9uZyBhbmQgcmFuZG9t\r\n";
    let passed = answer_to("/staff", authorization).await;
    assert_eq!(status(&passed), 404, "the instance's own: {passed}");
    assert!(!passed.contains("x-railhead-error"), "{passed}");

    let closed = answer_to("/closed", "accept: text/html\r\n").await;
    assert_eq!(status(&closed), 503);
    assert!(closed.contains("retry-after: 600"), "{closed}");
    assert!(closed.contains("Back &lt;soon&gt;."), "{closed}");

    let changed = answer_to("/api/headers?q=1", "x-debug: 1\r\nx-edge: no\r\n").await;
    assert_eq!(status(&changed), 200);
    assert!(changed.contains("x-frame-options: DENY"), "{changed}");
    assert!(!changed.contains("content-type:"), "{changed}");
    assert!(changed.contains("\"_uri\":\"/headers?q=1\""), "{changed}");
    assert!(changed.contains("\"x-edge\":\"yes\"") && !changed.contains("x-debug"));

    let open = answer_to("/open", "").await;
    assert_eq!(status(&open), 404, "no rule, the instance: {open}");
}

#[tokio::test]
async fn a_decision_is_in_the_log_with_the_rules_name_and_no_failure_of_the_service() {
    let region = with_rules(json!([
        { "name": "closed", "if": "request.path == '/closed'", "then": { "action": "maintenance" } },
        { "if": "request.path == '/no'", "then": { "action": "block" } },
        { "name": "few", "if": "true",
          "then": { "action": "rate_limit", "key": "ip", "limit": 1, "window": "1d", "dry_run": true } },
    ]))
    .await;
    for path in ["/closed", "/no", "/", "/"] {
        answer(&region, path, "").await;
    }
    let log = region.edge.log(4).await;
    let said = |n: usize| {
        let line = &log[n];
        (
            line["rule"].clone(),
            line["rule_dry_run"].clone(),
            line["status"].clone(),
        )
    };
    assert_eq!(said(0), (json!("closed"), json!(null), json!(503)));
    assert_eq!(said(1), (json!("#2"), json!(null), json!(403)));
    assert_eq!(said(2), (json!(null), json!(null), json!(200)));
    assert_eq!(said(3), (json!(null), json!("few"), json!(200)));
    let state = &region.edge.running.state;
    assert!(
        state
            .counters
            .snapshot()
            .values()
            .all(|counts| counts.failed == 0)
    );
    let traffic = state.metrics.traffic.snapshot(0);
    assert_eq!((traffic.failed, traffic.unrouted), (0, 1), "{traffic:?}");
}

/// What an older edge, or a bug, makes of it.
#[tokio::test]
async fn rules_that_can_not_be_read_leave_the_last_good_ones() {
    let block = |path: &str| json!([{ "if": format!("request.path == '{path}'"), "then": { "action": "block" } }]);
    let region = with_rules(block("/one")).await;
    let refused = json!([{ "if": "request.of_the_future", "then": { "action": "block" } }]);
    publish(&region, refused).await;
    let items_refused = || {
        let traffic = region.edge.running.state.metrics.traffic.snapshot(0);
        traffic.items_refused
    };
    until("it is refused", async || items_refused() == 1).await;
    assert_eq!(status(&answer(&region, "/one", "").await), 403);
    assert_eq!(status(&answer(&region, "/", "").await), 200);
    publish(&region, block("/two")).await;
    until("the next ones are taken", async || {
        status(&answer(&region, "/two", "").await) == 403
    })
    .await;
    assert_eq!(items_refused(), 0);
    assert_ne!(status(&answer(&region, "/one", "").await), 403);
}

#[tokio::test]
async fn another_region_takes_what_the_first_edge_has_decided() {
    let two = two_regions().await;
    let rules = json!([
        { "if": "request.path.startsWith('/api')",
          "then": { "action": "rewrite", "path": "{path}", "strip_prefix": "/api" } },
        { "if": "request.path.startsWith('/headers')", "then": { "action": "block" } },
        { "if": "true",
          "then": { "action": "headers", "request": { "set": { "x-edge": "near" } } } },
        { "if": "request.region == 'eu-west'", "then": { "action": "block" } },
    ]);
    let routes = two.routes.clone().rules(two.service, rules);
    let (near, far) = (&two.near, &two.far);
    near.publish(
        &routes
            .clone()
            .agent(&two.agents[0])
            .service(two.service, &[]),
    );
    until("the rules are there", async || {
        near.running
            .state
            .routes
            .load()
            .rules(two.service)
            .is_some()
    })
    .await;
    let there = routes.agent(&two.agents[1]);
    far.publish(&there.service(two.service, &[two.instance()]));
    far.usable(two.service, &[two.instance()]).await;
    let answer = client(&two.ca, near.https)
        .get("https://app.test/api/headers")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "it is not asked again over there");
    let seen: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(
        (&seen["_uri"], &seen["x-edge"]),
        (&json!("/headers"), &json!("near"))
    );
    let log = far.log(1).await;
    assert_eq!(log[0]["rule"], json!(null));
}

fn places(path: &Path, country: &str) {
    let mut writer = Writer::builder("Test-Places")
        .description(&[("en", "For tests")])
        .build();
    let record = Value::map([("country", Value::map([("iso_code", Value::from(country))]))]);
    let network: ipnet::IpNet = "203.0.113.0/24".parse().unwrap();
    writer.insert_value(network, record).unwrap();
    let new = path.with_extension("new");
    std::fs::write(&new, writer.to_bytes().unwrap()).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn places_come_from_a_file_that_may_change() {
    let mut region = Region::start().await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let database = dir.path().join("countries.mmdb");
    places(&database, "DE");
    let extras = Extras {
        databases: vec![database.clone()],
        ..Extras::default()
    };
    let identity = region.ca.node("us-east", Role::Edge);
    region.edge = TestEdge::start_with(identity, &region.routes, dir, extras).await;
    let rules = json!([
        { "if": "request.country == 'DE'", "then": { "action": "block", "status": 451 } },
    ]);
    publish(&region, rules).await;
    let status_of =
        async |user: &str| status(&as_user(region.edge.http, user, &get("/", "")).await);
    assert_eq!(status_of(USER).await, 451);
    assert_eq!(status_of("198.51.100.1").await, 200, "nobody knows where");
    places(&database, "FR");
    until("the new file is read", async || {
        status_of(USER).await == 200
    })
    .await;
    std::fs::write(&database, "broken").unwrap();
    places(&database, "DE");
    until("the next good one is read", async || {
        status_of(USER).await == 451
    })
    .await;
}

#[tokio::test]
async fn without_the_rules_that_a_service_has_nobody_passes() {
    let region = Region::start().await;
    let policy = RoutePolicy {
        ruled: true,
        ..RoutePolicy::default()
    };
    let routes = region.routes.clone();
    let routes = routes.service(region.service, &[&region.instance]);
    region
        .edge
        .publish(&routes.hostname_by("app.test", region.service, policy));
    let client = client(&region.ca, region.edge.https);
    let refused = async || {
        let answer = client.get("https://app.test/").send().await.unwrap();
        let code = answer.headers().get("x-railhead-error").cloned();
        answer.status() == 503 && code.is_some_and(|code| code == "rules_missing")
    };
    until("the edge says what it lacks", async || refused().await).await;
    let requests = region.instance.requests();
    assert!(refused().await);
    assert_eq!(region.instance.requests(), requests);
}
