//! Following a deployment: that it serves is told before it is live, and what it still waits for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::{
    support::{FakeApi, Ran, User, id, ok},
    up::{deployment, service},
};

const STEPS: [&str; 4] = ["placing", "shifting", "draining", "live"];

/// A redeploy whose old instance drains on the first look and is gone on the second.
async fn redeploy(more: &[&str], code: &str) -> Ran {
    let looks = Arc::new(AtomicUsize::new(0));
    let error = json!({ "code": code, "message": "1 old instance has not ended yet (eu-west 1)" });
    let api = FakeApi::start(move |asked| match asked.path.rsplit('/').next().unwrap() {
        "deployments" => ok(&deployment("placing", &STEPS[..1], None)),
        last if last.starts_with("dep_") => match looks.fetch_add(1, Ordering::SeqCst) {
            0 => ok(&deployment("draining", &STEPS[..3], Some(error.clone()))),
            _ => ok(&deployment("live", &STEPS, None)),
        },
        _ => ok(&service()),
    })
    .await;
    let service = id("svc", 1);
    let arguments = [&["redeploy", "-s", &service][..], more].concat();
    let ran = User::new().run(&api, &arguments).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

#[tokio::test]
async fn that_it_serves_is_told_before_old_instances_have_ended() {
    let ran = redeploy(&[], "old_instances_draining").await;
    let told: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        told,
        [
            "✓ placed     1.0 s",
            "✓ shifted    1.0 s",
            "✓ serving at every edge after 2.0 s",
            "1 old instance has not ended yet (eu-west 1)",
            "✓ drained    1.0 s",
            "✓ web is live after 0.0 s (0 of 120 requests failed during the change)",
        ]
    );
}

#[tokio::test]
async fn a_late_edge_is_not_passed_over_in_silence() {
    let ran = redeploy(&[], "old_instances_kept").await;
    let said = "serving at every edge but late ones after";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

#[tokio::test]
async fn programs_are_told_what_each_step_waits_for() {
    let ran = redeploy(&["--json"], "old_instances_draining").await;
    let records = ran.stdout.lines();
    let kinds: Vec<(Value, Value)> = records
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| (record["kind"].clone(), record["state"].clone()))
        .collect();
    let of = |kind: &str, state: &str| (json!(kind), json!(state));
    assert_eq!(
        kinds,
        [
            of("step", "placing"),
            of("step", "shifting"),
            of("step", "draining"),
            of("waiting", "draining"),
            of("step", "live"),
            of("deployment", "live"),
        ]
    );
}
