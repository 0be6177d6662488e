//! The edge as a process: it joins, serves, goes on without the control plane, starts again from its
//! disk, and ends in order.

use std::time::{Duration, Instant};

use crate::support::{Agent, Ca, ControlPlane, Instance, Process, Routes, until};

/// What a process needs to serve `app.test`.
pub struct Platform {
    pub control_plane: ControlPlane,
    pub instance: Instance,
    _agent: Agent,
}

impl Platform {
    pub async fn start() -> Self {
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
        Self {
            control_plane: ControlPlane::start(ca, routes).await,
            instance,
            _agent: agent,
        }
    }
}

#[tokio::test]
async fn an_edge_joins_acknowledges_and_outlives_the_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start().await;
    let control_plane = &platform.control_plane;

    let token = control_plane.token();
    let edge = Process::start(dir.path(), control_plane, Some(&token));
    edge.answers(control_plane.ca()).await;
    until("both feeds are acknowledged", async || {
        control_plane
            .last_report()
            .is_some_and(|report| report.feeds.len() == 2)
    })
    .await;
    assert_eq!(edge.get("/readyz").await, "ready\n");
    let metrics = edge.get("/metrics").await;
    for name in [
        "railhead_edge_requests_total",
        "railhead_link_feed_generation",
        "railhead_build_info",
    ] {
        assert!(metrics.contains(name), "{name}");
    }

    control_plane.stop();
    edge.answers(control_plane.ca()).await;
    let ended = edge.terminate().await;
    assert!(ended < Duration::from_secs(5), "{ended:?}");

    let again = Process::start(dir.path(), control_plane, None);
    again.answers(control_plane.ca()).await;
    assert_eq!(again.get("/readyz").await, "ready\n");

    drop(again);
    let killed = Instant::now();
    let again = Process::start(dir.path(), control_plane, None);
    again.answers(control_plane.ca()).await;
    println!("first answer after a kill: {:?}", killed.elapsed());
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    assert!(
        !std::fs::read_to_string(dir.path().join("access.log"))
            .unwrap()
            .is_empty()
    );
}
