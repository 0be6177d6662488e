//! What tenants type beside deploying: environments, the address of what runs, and who did what.

use axum::{http::Method, response::Response};
use serde_json::{Value, json};

use crate::support::{Asked, FakeApi, User, id, ok, page};

fn environment(number: u32, name: &str) -> Value {
    json!({
        "id": id("env", number), "organization_id": id("org", 1), "project_id": id("prj", 1),
        "name": name, "version": 1, "created_at": "2026-01-01T00:00:00Z",
    })
}

fn service(hostnames: &[&str]) -> Value {
    json!({
        "id": id("svc", 1), "organization_id": id("org", 1), "project_id": id("prj", 1),
        "environment_id": id("env", 1), "name": "web", "spec": {}, "active": true,
        "hostnames": hostnames, "regions": {}, "blocked": {}, "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
    })
}

fn event(actor: &str, action: &str, changes: &[(&str, Value)]) -> Value {
    let mut event = json!({
        "id": id("aud", 1), "at": "2026-01-01T00:00:00Z", "actor_kind": "user", "actor_id": actor,
        "actor_address": "192.0.2.7", "action": action, "resource": id("svc", 1),
        "outcome": "success", "request_id": "req_1", "occurrences": 1, "detail": {},
    });
    for (key, value) in changes {
        event[*key] = value.clone();
    }
    event
}

/// An organization with one project and two environments; what is asked of the service differs.
fn shop(asked: &Asked, hostnames: &[&str]) -> Response {
    let named = |prefix: &str, name: &str| page(&[json!({ "id": id(prefix, 1), "name": name })]);
    match (&asked.method, asked.path.split('/').next_back().unwrap()) {
        (&Method::POST, "environments") => ok(&environment(3, "preview")),
        (_, "organizations") => named("org", "acme"),
        (_, "projects") => named("prj", "shop"),
        (_, "environments") => page(&[environment(1, "production"), environment(2, "staging")]),
        (_, "services") => page(&[service(hostnames)]),
        _ => ok(&service(hostnames)),
    }
}

#[tokio::test]
async fn environments_are_made_in_the_project_and_listed() {
    let api = FakeApi::start(|asked| shop(asked, &[])).await;
    let user = User::new();
    let made = user.run(&api, &["environment", "new", "preview"]).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(made.stdout.trim(), id("env", 3));
    assert!(
        made.stderr.contains("made environment preview in shop"),
        "{}",
        made.stderr
    );
    let path = format!("/v1/projects/{}/environments", id("prj", 1));
    let asked = api.asked_to(Method::POST, &path);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].json(), json!({ "name": "preview" }));

    let listed = user.run(&api, &["environment", "list"]).await;
    let names: Vec<_> = listed
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["ENVIRONMENT", "production", "staging"]);
}

#[tokio::test]
async fn deleting_an_environment_needs_a_yes_and_unlinks_its_folder() {
    let api = FakeApi::start(|asked| shop(asked, &[])).await;
    let user = User::new();
    let link = format!(
        "api = \"{}\"\n[organization]\nid = \"{}\"\nname = \"acme\"\n[project]\nid = \"{}\"\nname = \"shop\"\n\
         [environment]\nid = \"{}\"\nname = \"staging\"\n",
        api.url,
        id("org", 1),
        id("prj", 1),
        id("env", 2)
    );
    user.write(".railhead/link.toml", link);
    let linked = user.folder.path().join(".railhead/link.toml");
    let path = format!("/v1/environments/{}", id("env", 2));

    let unasked = user.run(&api, &["environment", "delete", "staging"]).await;
    assert_eq!(unasked.code, 2);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert!(api.asked_to(Method::DELETE, &path).is_empty());
    assert!(linked.exists());

    let deleted = user
        .run(&api, &["environment", "delete", "staging", "--yes"])
        .await;
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    assert_eq!(api.asked_to(Method::DELETE, &path).len(), 1);
    assert!(!linked.exists());
}

#[tokio::test]
async fn open_prints_the_address_where_no_browser_is() {
    let api = FakeApi::start(|asked| shop(asked, &["web-shop.railhead.test", "www.example.com"]));
    let (api, user) = (api.await, User::new());
    for arguments in [&["open"][..], &["open", "--print"]] {
        let ran = user.run(&api, arguments).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.stdout, "https://web-shop.railhead.test\n");
    }
    let ran = user.run(&api, &["open", "--json"]).await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told, json!({ "url": "https://web-shop.railhead.test" }));

    let bare = FakeApi::start(|asked| shop(asked, &[])).await;
    let ran = user.run(&bare, &["open"]).await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("→ railhead domain add"),
        "{}",
        ran.stderr
    );
}

fn audited(asked: &Asked) -> Response {
    let (ann, gone) = (id("usr", 1), id("usr", 9));
    match asked.path.split('/').next_back().unwrap() {
        "organizations" => page(&[json!({ "id": id("org", 1), "name": "acme" })]),
        "users" => page(&[json!({
            "id": ann, "email": "ann@example.com", "name": "Ann", "role": "admin", "version": 1,
            "created_at": "2026-01-01T00:00:00Z",
        })]),
        "api-tokens" => page(&[json!({
            "id": id("tok", 1), "organization_id": id("org", 1), "name": "ci", "role": "developer",
            "platform": false, "expires_at": "2027-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
        })]),
        _ if asked.query.contains("cursor=two") => page(&[event(&ann, "session.create", &[])]),
        _ => {
            let refused = [
                ("outcome", json!("denied")),
                ("error_code", json!("forbidden")),
            ];
            let events = [
                event(&ann, "service.create", &[("occurrences", json!(3))]),
                event(&id("tok", 1), "deployment.create", &[]),
                event(&gone, "service.delete", &refused),
            ];
            ok(&json!({ "items": events, "next_cursor": "two" }))
        }
    }
}

#[tokio::test]
async fn the_audit_log_names_who_did_what_and_how_it_ended() {
    let api = FakeApi::start(audited).await;
    let user = User::new();
    let ran = user.run(&api, &["audit", "list", "-n", "3"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (service, gone) = (id("svc", 1), id("usr", 9));
    let rows: Vec<_> = ran.stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{}", ran.stdout);
    for (row, parts) in rows.iter().zip([
        ["ann@example.com", "service.create ×3", "success"],
        ["token ci", "deployment.create", "success"],
        [gone.as_str(), "service.delete", "denied (forbidden)"],
    ]) {
        let told = parts.iter().all(|part| row.contains(part));
        assert!(told && row.contains("192.0.2.7"), "{row}");
        assert!(row.contains(&service), "{row}");
    }
    let path = format!("/v1/organizations/{}/audit-events", id("org", 1));
    assert_eq!(api.asked_to(Method::GET, &path)[0].query, "limit=3");

    let all = user.run(&api, &["audit", "export"]).await;
    let actions: Vec<Value> = all
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["action"].clone())
        .collect();
    assert_eq!(
        actions,
        [
            "service.create",
            "deployment.create",
            "service.delete",
            "session.create"
        ]
    );
}
