//! Edge rules: shown, replaced, and asked about before they lock everybody out.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Asked, FakeApi, User, id, ok, page};

const LIMIT: &str = "[[rules]]\nif = 'request.path == \"/login\"'\n\
    then = { action = \"rate_limit\", key = \"ip\", limit = 20, window = \"1m\" }\n";
const LOCKED: &str = "[[rules]]\nif = 'true'\nthen = { action = \"block\" }\n";

fn service() -> Value {
    json!({
        "id": id("svc", 1), "organization_id": id("org", 1), "project_id": id("prj", 1),
        "environment_id": id("env", 1), "name": "web", "active": true,
        "spec": { "edge": { "rules": [
            { "name": "closed", "if": "request.path == '/x'", "then": { "action": "maintenance" } },
        ] } },
        "hostnames": ["web-shop.railhead.test"], "regions": {}, "blocked": {}, "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
    })
}

fn platform(asked: &Asked) -> axum::response::Response {
    let named = |prefix: &str, name: &str| page(&[json!({ "id": id(prefix, 1), "name": name })]);
    match (&asked.method, asked.path.split('/').next_back().unwrap()) {
        (_, "organizations") => named("org", "acme"),
        (_, "projects") => named("prj", "shop"),
        (_, "environments") => named("env", "production"),
        (_, "services") => page(&[service()]),
        (&Method::PATCH, _) => {
            let mut changed = service();
            changed["spec"] = asked.json()["spec"].clone();
            ok(&changed)
        }
        _ => ok(&service()),
    }
}

fn saved(api: &FakeApi) -> Vec<Value> {
    let path = format!("/v1/services/{}", id("svc", 1));
    let asked = api.asked_to(Method::PATCH, &path);
    asked.iter().map(Asked::json).collect()
}

#[tokio::test]
async fn rules_are_shown_as_they_are_set_and_replaced_whole() {
    let api = FakeApi::start(platform).await;
    let user = User::new();
    let shown = user.run(&api, &["edge", "rules", "get"]).await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("[[rules]]") && shown.stdout.contains("closed"));
    user.write("same.toml", &shown.stdout);
    user.write("limit.toml", LIMIT);
    for (file, action) in [("same.toml", "maintenance"), ("limit.toml", "rate_limit")] {
        let ran = user.run(&api, &["edge", "rules", "set", file]).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let body = saved(&api).pop().unwrap();
        assert_eq!(body["spec"]["edge"]["rules"][0]["then"]["action"], action);
        assert!(body.get("confirm_block_all").is_none(), "{body}");
    }
}

#[tokio::test]
async fn rules_that_block_everything_or_can_not_be_read_are_not_sent() {
    let api = FakeApi::start(platform).await;
    let user = User::new();
    user.write("locked.toml", LOCKED);
    user.write("bad.toml", LOCKED.replace("true", "request.path"));
    for (file, part) in [("locked.toml", "--yes"), ("bad.toml", "edge.rules[0].if")] {
        let ran = user.run(&api, &["edge", "rules", "set", file]).await;
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert_eq!(saved(&api).len(), 0);
    let ran = user
        .run(&api, &["edge", "rules", "set", "locked.toml", "--yes"])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(saved(&api)[0]["confirm_block_all"], true);
}

#[tokio::test]
async fn a_decision_is_explained_without_sending_anything() {
    let api = FakeApi::start(platform).await;
    let user = User::new();
    let line = ["edge", "rules", "test", "https://web-shop.railhead.test/x"];
    let ran = user.run(&api, &line).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sentence = "answered 503, maintenance (rule closed)";
    assert!(ran.stdout.contains(sentence), "{}", ran.stdout);

    user.write("limit.toml", LIMIT);
    let line = [
        "edge",
        "rules",
        "test",
        "http://a.test/",
        "--file",
        "limit.toml",
        "--json",
    ];
    let ran = user.run(&api, &line).await;
    let explained: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(explained["verdict"], "pass");
    assert_eq!(explained["rules"][0]["matches"], false);
}
