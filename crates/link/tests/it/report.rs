use domain::ring::Ring;
use std::time::{Duration, Instant};

use domain::generation::Position;
use link::report::Reporter;
use protocol::{
    feed::FeedName,
    item::GlobalRouteItem,
    join::Role,
    report::{EdgeReport, Report, RoleReport},
};
use tempfile::tempdir;
use testkit::publisher::Change;
use tokio::time::timeout;

use super::control_plane::ControlPlane;

const SOON: Duration = Duration::from_secs(20);

pub fn edge_report() -> RoleReport {
    RoleReport::Edge(EdgeReport {
        forward_address: ([127, 0, 0, 1], 1).into(),
        public_address: ([127, 0, 0, 1], 2).into(),
        deployments: [].into(),
        traffic: protocol::report::Traffic::default(),
    })
}

async fn next(control_plane: &mut ControlPlane) -> Report {
    let received = timeout(SOON, control_plane.reports.recv());
    received.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_comes_at_once_when_something_changed() {
    let mut control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let reporter = Reporter::new(&link, "1.0".to_owned(), Vec::new());
    let poke = reporter.poke();
    let running = tokio::spawn(reporter.run(edge_report));
    let first = next(&mut control_plane).await;
    let mut latest = first.sequence;
    let mut fastest = SOON;
    for _ in 0..5 {
        let poked = Instant::now();
        poke.now();
        let report = next(&mut control_plane).await;
        fastest = fastest.min(poked.elapsed());
        assert_eq!(report.boot_id, first.boot_id);
        assert!(report.sequence > latest);
        latest = report.sequence;
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_to_its_end_reports_once_more() {
    let mut control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let reporter = Reporter::new(&link, "1.0".to_owned(), Vec::new());
    let (end, ended) = tokio::sync::oneshot::channel();
    let ended = async { ended.await.unwrap() };
    let running = tokio::spawn(reporter.run_until(ended, edge_report));
    let first = next(&mut control_plane).await;
    end.send(()).unwrap();
    let last = next(&mut control_plane).await;
    assert_eq!(last.sequence, first.sequence + 1);
    timeout(SOON, running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interval_is_the_control_planes() {
    let mut control_plane = ControlPlane::start(Role::Edge).await;
    control_plane.shared.answer.lock().unwrap().interval_ms = 100;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let reporter = Reporter::new(&link, "1.0".to_owned(), Vec::new());
    let running = tokio::spawn(reporter.run(edge_report));
    for expected in 1..4 {
        assert_eq!(next(&mut control_plane).await.sequence, expected);
    }
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_commits_and_held_drops_are_reported_and_an_override_lets_go() {
    let mut control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let follower = link
        .follow::<GlobalRouteItem>(FeedName::GlobalRoutes(Ring::All))
        .unwrap();
    let state = follower.state();
    let reporter = Reporter::new(&link, "1.0".to_owned(), vec![follower.feed()]);
    let running = [
        tokio::spawn(follower.run()),
        tokio::spawn(reporter.run(edge_report)),
    ];
    let fill = (0..4).fold(Change::default(), |change, _| {
        let id = domain::id::NodeId::new();
        let edge = serde_json::json!({
            "kind": "edge", "node_id": id, "region": "us-east", "forward_address": "10.0.0.1:1",
        });
        change.put(&format!("edge/{id}"), &edge)
    });
    control_plane.publish(fill);
    until_applied(&mut control_plane).await;

    // A full document that lost everything, without a word why.
    let full = {
        let mut publisher = control_plane.shared.publisher.lock().unwrap();
        publisher.document = Default::default();
        publisher.position.generation.0 += 1;
        publisher.full(Change::default())
    };
    control_plane.send(full);
    let report = until_applied(&mut control_plane).await;
    assert_eq!(
        report.held.get(&FeedName::GlobalRoutes(Ring::All)),
        Some(&4)
    );
    assert_eq!(state.borrow().items.len(), 4);

    let position = control_plane.position();
    {
        let mut answer = control_plane.shared.answer.lock().unwrap();
        answer.interval_ms = 100;
        answer.release = [(FeedName::GlobalRoutes(Ring::All), position)].into();
    }
    control_plane.publish(Change::default());
    while !next(&mut control_plane).await.held.is_empty() {}
    assert_eq!(state.borrow().items.len(), 0);
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

/// The first report with the control plane's newest commit.
async fn until_applied(control_plane: &mut ControlPlane) -> Report {
    let position = control_plane.position();
    loop {
        let report = next(control_plane).await;
        let applied = report.feeds.first().map(protocol::feed::Commit::position);
        if applied == Some(position) {
            return report;
        }
        assert!(applied < Some(position) || position == Position::default());
    }
}
