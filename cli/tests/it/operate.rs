//! What operators of a platform type: how it fares, what to do about it, and nodes taken out and back.

use axum::{http::Method, response::Response};
use serde_json::{Value, json};

use crate::support::{Asked, FakeApi, Ran, User, id, ok, page};

const SEEN: &str = "2026-01-01T00:10:00Z";

fn finding(severity: &str, message: &str) -> Value {
    json!({
        "severity": severity, "code": "region_without_edge", "subject": "eu-west",
        "message": message, "advice": "bring one back, or join another",
    })
}

fn reconciler(name: &str, error: Option<&str>) -> Value {
    let mut status = json!({
        "name": name, "holder": "00000000-0000-0000-0000-0000000000a1", "period_seconds": 5,
    });
    match error {
        Some(error) => status["error"] = json!(error),
        None => {
            status["succeeded_at"] = json!("2026-01-01T00:09:56Z");
            status["lease_expires_at"] = json!("2026-01-01T00:10:03Z");
        }
    }
    status
}

fn health(name: &str, role: &str, changes: &Value) -> Value {
    let mut node = json!({
        "name": name, "region": "us-east", "role": role, "schedulable": true,
        "reported_at": "2026-01-01T00:09:57Z", "held_drops": 0, "behind": [],
    });
    let changes = changes.as_object().unwrap().clone();
    node.as_object_mut().unwrap().extend(changes);
    node
}

fn platform_status(findings: &[Value]) -> Value {
    json!({
        "at": SEEN, "epoch": 7, "findings": findings,
        "reconcilers": [
            reconciler("deployments", None),
            reconciler("routes", Some("the database is away")),
        ],
        "feeds": [
            { "name": "routes/global", "generation": 12, "items": 3, "changed_at": "2026-01-01T00:07:00Z",
              "followers": 2, "behind": 1 },
        ],
        "nodes": [
            health("us-east-1", "agent", &json!({})),
            health("us-east-1", "edge", &json!({ "late_since": SEEN })),
            health("us-east-2", "agent", &json!({ "schedulable": false })),
            health("us-east-3", "agent", &json!({ "schedulable": false, "draining": true })),
            health("us-east-4", "agent", &json!({ "fenced": true, "reported_at": null })),
        ],
        "backlog": {
            "jobs_due": 3, "oldest_job_seconds": 1, "jobs_dead": 0, "deployments": 2,
            "services_without_room": 1, "workflows_failing": 0, "orphans": 0,
        },
    })
}

async fn doctor(findings: &[Value], options: &[&str]) -> Ran {
    let status = platform_status(findings);
    let api = FakeApi::start(move |_| ok(&status)).await;
    let arguments = [&["admin", "doctor"], options].concat();
    let ran = User::new().run(&api, &arguments).await;
    assert_eq!(api.asked_to(Method::GET, "/v1/platform/status").len(), 1);
    ran
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let findings = [
        finding("critical", "no edge of eu-west reports"),
        finding("warning", "a certificate ends soon"),
    ];
    let ran = doctor(&findings, &[]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stdout,
        "✗ no edge of eu-west reports\n  → bring one back, or join another\n\
         ! a certificate ends soon\n  → bring one back, or join another\n"
    );
    let stderr = &ran.stderr;
    assert!(stderr.contains("critical findings: 1"), "{stderr}");
    assert!(stderr.contains("→ railhead admin status"), "{stderr}");

    let ran = doctor(&findings, &["--json"]).await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, told), (1, json!(findings)));
}

#[tokio::test]
async fn only_what_is_critical_fails_the_doctor() {
    let ran = doctor(&[finding("warning", "a certificate ends soon")], &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("! a certificate ends soon"),
        "{}",
        ran.stdout
    );
    let ran = doctor(&[], &[]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "✓ nothing is wrong\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn the_status_shows_reconcilers_feeds_and_nodes() {
    let status = platform_status(&[finding("warning", "a certificate ends soon")]);
    let api = FakeApi::start(move |_| ok(&status)).await;
    let ran = User::new().run(&api, &["admin", "status"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!(ran.stdout, @r"
    epoch 7, findings: 1 (railhead admin doctor)
    2 deployments under way, 3 jobs wait, 1 services without room

    RECONCILER   LAST SUCCESS  REPLICA   LEASE    ERROR
    deployments  4.0 s ago     000000a1  3.0 s    -
    routes       -             000000a1  expired  the database is away

    FEED           GENERATION  ITEMS  CHANGED    FOLLOWERS  BEHIND
    routes/global  12          3      3 min ago  2          1

    NODE       REGION   ROLE   REPORTED   STATE
    us-east-1  us-east  agent  3.0 s ago  ok
    us-east-1  us-east  edge   3.0 s ago  late
    us-east-2  us-east  agent  3.0 s ago  cordoned
    us-east-3  us-east  agent  3.0 s ago  draining
    us-east-4  us-east  agent  -          fenced
    ");
}

fn node(number: u32, name: &str, role: &str) -> Value {
    json!({
        "id": id("nod", number), "name": name, "region": "us-east", "role": role,
        "schedulable": true, "draining": false, "denied": false, "version": 3,
        "reserved": { "cpu": 0.5, "memory": 0 }, "created_at": "2026-01-01T00:00:00Z",
        "status": {
            "reported_at": chrono::Utc::now(), "binary_version": "1.2.3",
            "capacity": { "cpu": 2, "memory": 0 }, "usage": { "cpu": 0, "memory": 0 },
            "feeds": {
                "routes/global": { "epoch": 7, "generation": 12, "held_drops": 0 },
                "node/us-east-1": { "epoch": 7, "generation": 4, "held_drops": 5 },
            },
        },
    })
}

/// Two machines; the first has an edge, too, which comes first.
fn nodes(asked: &Asked) -> Response {
    match asked.method {
        Method::GET => page(&[
            node(2, "us-east-1", "edge"),
            node(1, "us-east-1", "agent"),
            node(3, "us-east-2", "agent"),
        ]),
        _ => ok(&node(1, "us-east-1", "agent")),
    }
}

async fn of_nodes(arguments: &[&str]) -> (Ran, Vec<Asked>) {
    let api = FakeApi::start(nodes).await;
    let ran = User::new()
        .run(&api, &[&["node"], arguments].concat())
        .await;
    let changes = api.asked().into_iter();
    let changes = changes
        .filter(|asked| asked.method != Method::GET)
        .collect();
    (ran, changes)
}

#[tokio::test]
async fn taking_a_node_out_and_back_changes_its_agent_as_it_was_read() {
    for (arguments, body, said) in [
        (
            &["cordon", "us-east-1"][..],
            json!({ "schedulable": false }),
            "us-east-1 is cordoned",
        ),
        (
            &["drain", "us-east-1", "--yes"],
            json!({ "schedulable": false, "draining": true }),
            "us-east-1 is being emptied",
        ),
        (
            &["uncordon", "us-east-1"],
            json!({ "schedulable": true, "draining": false }),
            "us-east-1 is in service",
        ),
    ] {
        let (ran, changes) = of_nodes(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        let [change] = changes.as_slice() else {
            panic!("{arguments:?} asked for {changes:?}")
        };
        assert_eq!(change.method, Method::PATCH);
        assert_eq!(change.path, format!("/v1/nodes/{}", id("nod", 1)));
        assert_eq!(change.header("if-match"), "\"3\"");
        assert_eq!(change.json(), body);
    }
}

#[tokio::test]
async fn fencing_a_node_asks_for_its_name_and_tells_the_reason() {
    let fence = &["fence", "us-east-1", "--reason", "its power is off"];
    let (ran, changes) = of_nodes(&[&fence[..], &["--yes"]].concat()).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("us-east-1 is fenced"), "{}", ran.stderr);
    let [change] = changes.as_slice() else {
        panic!("it asked for {changes:?}")
    };
    assert_eq!(change.method, Method::POST);
    assert_eq!(change.path, format!("/v1/nodes/{}/fence", id("nod", 1)));
    assert_eq!(change.json(), json!({ "reason": "its power is off" }));
}

#[tokio::test]
async fn what_moves_workloads_is_not_done_unasked() {
    for (arguments, advice) in [
        (&["drain", "us-east-1"][..], "--yes"),
        (&["fence", "us-east-1", "--reason", "off"], "--yes"),
        (&["fence", "us-east-1", "--yes"], "--reason"),
    ] {
        let (ran, changes) = of_nodes(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(advice), "{}", ran.stderr);
        assert!(changes.is_empty(), "{arguments:?} asked for {changes:?}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_answered_with_those_that_are() {
    let (ran, changes) = of_nodes(&["drain", "us-east-9", "--yes"]).await;
    assert_eq!(ran.code, 5);
    assert!(
        ran.stderr.contains("there is: us-east-1, us-east-2"),
        "{}",
        ran.stderr
    );
    assert!(changes.is_empty(), "{changes:?}");
}

#[tokio::test]
async fn nodes_are_listed_by_region_and_shown_with_their_feeds() {
    let (ran, _) = of_nodes(&["list"]).await;
    let rows: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{}", ran.stdout);
    assert!(rows[2].contains("agent  in service"), "{}", ran.stdout);
    assert!(rows[2].contains("0.5 of 2"), "{}", ran.stdout);
    let (ran, _) = of_nodes(&["list", "--region", "eu-west", "--json"]).await;
    assert_eq!(ran.stdout.trim(), "[]");

    let (ran, _) = of_nodes(&["get", "us-east-1"]).await;
    let feeds = ran.stdout.split("\n\n").nth(1).unwrap_or_default();
    insta::assert_snapshot!(feeds, @r"
    FEED            POSITION  HELD BY THE BRAKE
    node/us-east-1  7/4       5
    routes/global   7/12      0
    ");
}
