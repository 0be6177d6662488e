//! A node whose version of the protocol its control plane does not speak, as when either was updated before the other.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::ring::Ring;
use link::{Link, follow::Follower, report::Reporter};
use protocol::{PROTOCOL, feed::FeedName, item::GlobalRouteItem, join::Role};
use tempfile::tempdir;
use testkit::{chaos_proxy::ChaosProxy, wait};
use tokio::{task::JoinSet, time::timeout};

use super::{
    control_plane::ControlPlane,
    follow::{follow, put},
    report::edge_report,
};

const SOON: Duration = Duration::from_secs(20);
/// The first pause of a node that was refused; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What this test's thread has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines with this in them.
    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(with));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_refused_node_serves_on_says_what_to_do_and_goes_on_by_itself() {
    let (log, _logging) = Log::begin();
    let mut control_plane = ControlPlane::start(Role::Edge).await;
    let proxy = ChaosProxy::start(control_plane.address).await.unwrap();
    let dir = tempdir().unwrap();
    let link = Link::open(control_plane.config(dir.path(), proxy.address))
        .await
        .unwrap();
    control_plane.publish(put("a"));
    let following = follow(&link);
    following.holds(1).await;
    let reporter = Reporter::new(&link, "1.0".to_owned(), vec![following.feed.clone()]);
    let mut reporting = JoinSet::new();
    reporting.spawn(reporter.run(edge_report));

    // The control plane is replaced by one of another version.
    let newer = PROTOCOL + 1;
    *control_plane.shared.spoken.lock().unwrap() = newer;
    proxy.reset();
    wait::until(SOON, async || control_plane.refused_feeds().len() > 4).await;

    assert_eq!(following.state.borrow().items.len(), 1);
    assert!(!following.feed.status().connected);
    pauses_grow(&control_plane);
    let advice = format!("but {newer} to {newer}: update the node");
    let lines = log.lines("the feed is interrupted");
    let said = lines.last().unwrap();
    for part in ["WARN", "protocol_unsupported", advice.as_str()] {
        assert!(said.contains(part), "{part} not in {said}");
    }
    starts_again_from_its_disk(&control_plane, dir.path()).await;

    // It is updated, or the other one is replaced again.
    while control_plane.reports.try_recv().is_ok() {}
    *control_plane.shared.spoken.lock().unwrap() = PROTOCOL;
    control_plane.publish(put("b"));
    following.holds(2).await;
    assert!(following.feed.status().connected);
    let report = timeout(SOON, control_plane.reports.recv()).await;
    assert!(report.unwrap().is_some());
}

/// Each is at least twice the one before, but for the jitter.
fn pauses_grow(control_plane: &ControlPlane) {
    let refused = control_plane.refused_feeds();
    for (n, pair) in (0..).zip(refused.windows(2).take(4)) {
        let (paused, least) = (pair[1] - pair[0], FIRST_PAUSE * 2_u32.pow(n));
        assert!(paused >= least, "pause {n} is {paused:?}, not {least:?}");
    }
}

/// A node needs nobody's leave for that.
async fn starts_again_from_its_disk(control_plane: &ControlPlane, dir: &std::path::Path) {
    let config = control_plane.config(dir, control_plane.address);
    let link = Link::open(config).await.unwrap();
    let follower: Follower<GlobalRouteItem> =
        link.follow(FeedName::GlobalRoutes(Ring::All)).unwrap();
    assert_eq!(follower.state().borrow().items.len(), 1);
}

/// They would be lost for good: who ships them gives up what is refused for another reason.
#[tokio::test]
async fn log_lines_wait_until_they_are_understood() {
    let control_plane = ControlPlane::start(Role::Agent).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    *control_plane.shared.spoken.lock().unwrap() = PROTOCOL + 1;
    let error = link.client().logs(&[]).await.unwrap_err();
    assert_eq!(error.code(), "protocol_unsupported");
    assert!(error.is_passing(), "{error}");
}
