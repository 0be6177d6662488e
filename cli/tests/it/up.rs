//! `up` from an empty organization to a live service, and what the archive holds.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    http::Method,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::support::{Asked, FakeApi, User, id, ok, page};

pub fn service() -> Value {
    json!({
        "id": id("svc", 1), "organization_id": id("org", 1), "project_id": id("prj", 1),
        "environment_id": id("env", 1), "name": "web", "spec": {}, "active": true,
        "hostnames": ["web-shop.railhead.test"], "regions": {}, "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
    })
}

pub fn deployment(state: &str, steps: &[&str], error: Option<Value>) -> Value {
    let at = "2026-01-01T00:00:00Z";
    let step = |(second, state): (usize, &&str)| json!({ "state": state, "at": format!("2026-01-01T00:00:{second:02}Z") });
    let steps: Vec<Value> = steps.iter().enumerate().map(step).collect();
    json!({
        "id": id("dep", 1), "service_id": id("svc", 1), "number": 4,
        "source": { "from": "archive", "archive_id": id("arc", 1) }, "reason": "deploy",
        "state": state, "state_since": at, "steps": steps, "error": error,
        "cancel_requested": false, "requests": 120, "failed_requests": 0, "version": 1,
        "created_at": at, "finished_at": at,
    })
}

/// An organization with a project and no service; the deployment ends as `end` on the third look.
fn platform(asked: &Asked, looks: &AtomicUsize, end: &Value) -> Response {
    let named = |prefix: &str, name: &str| json!({ "id": id(prefix, 1), "name": name });
    match (
        asked.method.as_str(),
        asked.path.rsplit('/').next().unwrap(),
    ) {
        ("GET", "organizations") => page(&[named("org", "acme")]),
        ("GET", "projects") => page(&[named("prj", "shop")]),
        ("GET", "environments") => page(&[named("env", "production")]),
        ("GET", "services") => page(&[]),
        ("POST", "archives") => ok(&json!({
            "id": id("arc", 1), "service_id": id("svc", 1), "sha256": "00", "size_bytes": asked.body.len(),
            "created_at": "2026-01-01T00:00:00Z",
        })),
        ("POST", "deployments") => ok(&deployment("queued", &["queued"], None)),
        ("GET", "logs") => {
            let line = json!({ "kind": "line", "at": "2026-01-01T00:00:00Z", "stream": "stdout", "text": "STEP 1/2" });
            format!("{line}\n").into_response()
        }
        ("GET", last) if last.starts_with("dep_") => match looks.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => ok(&deployment("building", &["queued", "building"], None)),
            _ => ok(end),
        },
        _ => ok(&service()),
    }
}

async fn start(end: Value) -> FakeApi {
    let looks = Arc::new(AtomicUsize::new(0));
    FakeApi::start(move |asked| platform(asked, &looks, &end)).await
}

fn entries(archive: &[u8]) -> BTreeMap<String, (tar::EntryType, Vec<u8>)> {
    tar::Archive::new(flate2::read::GzDecoder::new(archive))
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (
                entry.path().unwrap().display().to_string(),
                (entry.header().entry_type(), content),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_dirty_tree_goes_live() {
    let live = deployment(
        "live",
        &["queued", "building", "placing", "draining", "live"],
        None,
    );
    let api = start(live).await;
    let user = User::new();
    let big: Vec<u8> = (0..6_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    user.write("Dockerfile", "FROM scratch\n");
    user.write(".gitignore", "*.log\nsecrets/\n");
    user.write("secrets/key", "private");
    user.write("debug.log", "noise");
    user.write("big.bin", &big);
    user.write("not-committed.py", "print()");
    std::os::unix::fs::symlink("big.bin", user.folder.path().join("alias")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", user.folder.path().join("outside")).unwrap();

    let ran = user.run(&api, &["up", "-s", "web", "--yes"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, "https://web-shop.railhead.test\n");
    for part in [
        "made service web",
        "left out outside",
        "STEP 1/2",
        "✓ built      1.0 s",
        "✓ serving at every edge after 3.0 s",
        "web is live",
        "0 of 120 requests failed",
    ] {
        assert!(
            ran.stderr.contains(part),
            "{part} is missing in:\n{}",
            ran.stderr
        );
    }
    assert_eq!(ran.stderr.matches("STEP 1/2").count(), 1, "{}", ran.stderr);

    let path = format!("/v1/services/{}/archives", id("svc", 1));
    let sent = entries(&api.asked_to(Method::POST, &path)[0].body);
    let names: Vec<&str> = sent.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            ".gitignore",
            "Dockerfile",
            "alias",
            "big.bin",
            "not-committed.py"
        ]
    );
    assert_eq!(sent["alias"].0, tar::EntryType::Symlink);
    assert!(sent["big.bin"].1 == big);

    let path = format!("/v1/services/{}/deployments", id("svc", 1));
    let posts = api.asked_to(Method::POST, &path);
    assert_eq!(posts[0].json()["source"]["archive_id"], id("arc", 1));
    assert!(!posts[0].header("idempotency-key").is_empty());
}

#[tokio::test]
async fn a_failed_deployment_exits_1_with_the_reason() {
    let error = json!({ "code": "dockerfile_failed", "message": "RUN make: exit status 2" });
    let api = start(deployment(
        "failed",
        &["queued", "building", "failed"],
        Some(error),
    ))
    .await;
    let user = User::new();
    user.write("Dockerfile", "FROM scratch\n");
    let ran = user.run(&api, &["up", "-s", "web", "--ci"]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr
            .contains("deployment 4 failed: RUN make: exit status 2"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("railhead logs --build"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("✗ building"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("code dockerfile_failed"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn programs_get_each_step_as_a_line_of_json() {
    let api = start(deployment("live", &["queued", "building", "live"], None)).await;
    let user = User::new();
    user.write("Dockerfile", "FROM scratch\n");
    let ran = user
        .run(&api, &["up", "-s", "web", "--yes", "--json"])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let records: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = records.last().unwrap();
    assert_eq!(
        (&last["kind"], &last["state"]),
        (&json!("deployment"), &json!("live"))
    );
    let steps: Vec<&Value> = records
        .iter()
        .filter(|r| r["kind"] == "step")
        .map(|r| &r["state"])
        .collect();
    assert_eq!(steps, ["queued", "building", "live"]);
    assert_eq!(
        records
            .iter()
            .filter(|record| record["kind"] == "line")
            .count(),
        1
    );
}

#[tokio::test]
async fn nothing_is_made_or_sent_without_consent_or_dockerfile() {
    let api = start(deployment("live", &["live"], None)).await;
    let user = User::new();
    user.write("main.py", "");
    let no_dockerfile = user.run(&api, &["up", "-s", "web", "--yes"]).await;
    assert_eq!(no_dockerfile.code, 2);
    assert!(
        no_dockerfile.stderr.contains("there is no Dockerfile"),
        "{}",
        no_dockerfile.stderr
    );

    user.write("Dockerfile", "FROM scratch\n");
    let unasked = user.run(&api, &["up", "-s", "web"]).await;
    assert_eq!(unasked.code, 2);
    assert!(unasked.stderr.contains("Make it?"), "{}", unasked.stderr);
    assert!(api.asked().iter().all(|asked| asked.method == Method::GET));
}

#[tokio::test]
async fn detach_does_not_wait() {
    let api = start(deployment("live", &["live"], None)).await;
    let user = User::new();
    user.write("Dockerfile", "FROM scratch\n");
    let ran = user
        .run(&api, &["up", "-s", "web", "--yes", "--detach"])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.trim()),
        (0, id("dep", 1).as_str()),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn the_only_service_is_not_replaced_from_a_folder_that_is_not_its_own() {
    let api = FakeApi::start(|asked| match asked.path.rsplit('/').next().unwrap() {
        "organizations" => page(&[json!({ "id": id("org", 1), "name": "acme" })]),
        "projects" => page(&[json!({ "id": id("prj", 1), "name": "shop" })]),
        "environments" => page(&[json!({ "id": id("env", 1), "name": "production" })]),
        _ => page(&[json!({ "id": id("svc", 1), "name": "web" })]),
    })
    .await;
    let user = User::new();
    user.write("Dockerfile", "FROM scratch\n");
    let ran = user.run(&api, &["up", "--yes"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("-s web"), "{}", ran.stderr);
    assert!(api.asked().iter().all(|asked| asked.method == Method::GET));
}
