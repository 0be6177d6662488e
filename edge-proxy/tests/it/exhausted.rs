//! An edge without free descriptors: what it can't reach for that is neither dead nor doubted, and requests wait a while.

use std::process::Command;

use crate::support::{Agent, Ca, ControlPlane, Instance, Process, Routes, http1_only, until};

/// Of a process that runs.
fn limit_descriptors(edge: &Process, limit: u32) {
    let limited = Command::new("prlimit")
        .args([
            format!("--pid={}", edge.child.id()),
            format!("--nofile={limit}:"),
        ])
        .status();
    assert!(limited.unwrap().success());
}

/// As the kernel lists them: `local remote state`, in hexadecimal.
fn connections_to(instance: &Instance) -> usize {
    let remote = format!(":{:04X}", instance.address().port());
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        columns.next().is_some_and(|it| it.ends_with(&remote)) && columns.next() == Some("01")
    };
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().filter(is_one).count()
}

/// The operators' endpoint, by one connection that stays: an edge without descriptors takes no other.
struct Metrics {
    http: reqwest::Client,
    url: String,
}

impl Metrics {
    async fn of(edge: &Process) -> Self {
        let url = format!("http://{}/metrics", edge.metrics);
        edge.get("/metrics").await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let metrics = Self { http, url };
        metrics.failures("connect").await;
        metrics
    }

    async fn failures(&self, kind: &str) -> f64 {
        let answer = self.http.get(&self.url).send().await.unwrap();
        let metrics = answer.text().await.unwrap();
        let series = format!("railhead_edge_upstream_failures_total{{kind=\"{kind}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

#[tokio::test]
async fn an_edge_without_descriptors_blames_nobody_and_goes_on_when_it_has_some() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let agent = Agent::start(&ca, "us-east").await;
    let service = domain::id::ServiceId::new();
    let instance = Instance::start("one", agent.node_id).await;
    agent.holds(service, &instance);
    let routes = Routes::default()
        .certificate(&ca, &["app.test"])
        .hostname("app.test", service, &["us-east"])
        .agent(&agent)
        .service(service, &[&instance]);
    let control_plane = ControlPlane::start(ca, routes).await;
    let token = control_plane.token();
    let edge = Process::start(dir.path(), &control_plane, Some(&token));
    edge.answers(control_plane.ca()).await;

    // On connections that stand: none can be taken later.
    let users = [(); 2].map(|()| http1_only(control_plane.ca(), edge.https));
    for user in &users {
        let answer = user.get("https://app.test/").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "one");
    }
    let [hasty, patient] = users.map(|user| user.get("https://app.test/"));
    until("no connection to the instance is kept", async || {
        connections_to(&instance) == 0
    })
    .await;

    let metrics = Metrics::of(&edge).await;
    limit_descriptors(&edge, 3);
    let refused = hasty.send().await.unwrap();
    assert_eq!(refused.status(), 500);
    assert_eq!(refused.headers()["x-railhead-error"], "internal");

    let before = metrics.failures("exhausted").await;
    let answer = tokio::spawn(patient.send());
    until("the second one waits as well", async || {
        metrics.failures("exhausted").await > before
    })
    .await;
    limit_descriptors(&edge, 1024);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);

    assert_eq!(metrics.failures("connect").await, 0.0);
}
