use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{id::NodeId, ring::Ring};
use link::{
    Link,
    follow::{Feed, State},
};
use protocol::{
    feed::FeedName,
    item::{DeniedItem, EdgeItem, GlobalRouteItem},
    join::Role,
};
use tempfile::tempdir;
use testkit::{
    chaos_proxy::{ChaosProxy, Conditions},
    hung_file::HungFile,
    publisher::Change,
    wait,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use super::control_plane::ControlPlane;

const SOON: Duration = Duration::from_secs(20);

pub struct Following {
    pub feed: Feed,
    pub state: watch::Receiver<Arc<State<GlobalRouteItem>>>,
    running: JoinHandle<()>,
}

pub fn follow(link: &Link) -> Following {
    let follower = link.follow(FeedName::GlobalRoutes(Ring::All)).unwrap();
    Following {
        feed: follower.feed(),
        state: follower.state(),
        running: tokio::spawn(follower.run()),
    }
}

impl Following {
    pub async fn holds(&self, count: usize) {
        wait::until(SOON, async || self.state.borrow().items.len() == count).await;
    }

    async fn is_at(&self, control_plane: &ControlPlane) {
        let position = Some(control_plane.position());
        let applied = || self.feed.status().commit.map(|commit| commit.position());
        wait::until(SOON, async || applied() == position).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The edge of this name: always the same.
fn edge(name: &str) -> (String, GlobalRouteItem) {
    let letters = name
        .bytes()
        .fold(0, |all, byte| all << 8 | u128::from(byte));
    let item = EdgeItem {
        node_id: format!("nod_{letters:032x}").parse().unwrap(),
        region: "us-east".parse().unwrap(),
        forward_address: ([10, 0, 0, 1], 7_443).into(),
    };
    (
        format!("edge/{}", item.node_id),
        GlobalRouteItem::Edge(item),
    )
}

pub fn put(name: &str) -> Change {
    let (id, item) = edge(name);
    Change::default().put(&id, &item)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_and_a_restart_needs_no_control_plane() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let following = follow(&link);
    following.is_at(&control_plane).await;
    control_plane.publish(put("a"));
    following.holds(1).await;
    control_plane.publish(put("b"));
    following.is_at(&control_plane).await;
    assert!(following.feed.status().connected);
    drop((following, control_plane));

    let follower = link
        .follow::<GlobalRouteItem>(FeedName::GlobalRoutes(Ring::All))
        .unwrap();
    assert_eq!(follower.state().borrow().items.len(), 2);
    assert!(!follower.feed().status().connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_opened_again_where_it_was() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let proxy = ChaosProxy::start(control_plane.address).await.unwrap();
    let dir = tempdir().unwrap();
    let config = control_plane.config(dir.path(), proxy.address);
    let link = Link::open(config).await.unwrap();
    let following = follow(&link);
    control_plane.publish(put("a"));
    following.holds(1).await;

    proxy.cut();
    wait::until(SOON, async || !following.feed.status().connected).await;
    let opened = control_plane.streams().len();
    assert_eq!(following.state.borrow().items.len(), 1);
    proxy.set(Conditions::default());
    wait::until(SOON, async || control_plane.streams().len() > opened).await;
    let (wanted, shown) = control_plane.streams().pop().unwrap();
    assert_eq!((wanted.epoch, wanted.after), (Some(1), Some(1)));
    assert!(shown.unwrap().contains("\"signature\""));
    control_plane.publish(put("b"));
    following.holds(2).await;
}

/// Takes 10 to 20 s, the time in which a dead line is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_died_without_a_word_is_given_up() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let proxy = ChaosProxy::start(control_plane.address).await.unwrap();
    let dir = tempdir().unwrap();
    let config = control_plane.config(dir.path(), proxy.address);
    let link = Link::open(config).await.unwrap();
    let following = follow(&link);
    control_plane.publish(put("a"));
    following.holds(1).await;
    proxy.set(Conditions::stalled());
    control_plane.publish(put("b"));
    wait::until(Duration::from_secs(30), async || {
        !following.feed.status().connected
    })
    .await;
    assert_eq!(following.state.borrow().items.len(), 1);
    proxy.set(Conditions::default());
    following.holds(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expelled_node_is_refused_from_the_commit_on_and_after_a_restart() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let following = follow(&link);
    let node_id = NodeId::new();
    let item = GlobalRouteItem::Denied(DeniedItem { node_id });
    control_plane.publish(Change::default().put(&format!("denied/{node_id}"), &item));
    wait::until(SOON, async || link.identity().denied().contains(node_id)).await;
    drop((following, control_plane));

    let config = link::Config {
        control_plane: "https://127.0.0.1:1".parse().unwrap(),
        name: "us-east-1".parse().unwrap(),
        role: Role::Edge,
        state_dir: dir.path().join("state"),
        node_key_file: None,
        join_token_file: None,
    };
    let started = Link::open(config).await.unwrap();
    let _follower = started
        .follow::<GlobalRouteItem>(FeedName::GlobalRoutes(Ring::All))
        .unwrap();
    assert!(started.identity().denied().contains(node_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_and_the_certificate_are_seen_on_metrics() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let following = follow(&link);
    control_plane.publish(put("a"));
    following.holds(1).await;
    let registry = prometheus::Registry::new();
    link::metrics::register(&registry, &link, vec![following.feed.clone()]).unwrap();
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "railhead_link_feed_generation{feed=\"routes/global\"} 1",
        "railhead_link_feed_connected{feed=\"routes/global\"} 1",
        "railhead_link_feed_items_held{feed=\"routes/global\"} 0",
        "railhead_link_feed_interruptions_total{feed=\"routes/global\"} 0",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
    let not_after = link.identity().credentials().validity.not_after.timestamp();
    let expiry = format!("railhead_link_certificate_expiry_timestamp_seconds {not_after}");
    assert!(text.contains(&expiry), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_the_last_good_state_and_the_next_good_one_applies() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let following = follow(&link);
    control_plane.publish(put("a"));
    following.holds(1).await;

    let (id, item) = edge("forged");
    let lines = {
        let mut publisher = control_plane.shared.publisher.lock().unwrap();
        let (document, position) = (publisher.document.clone(), publisher.position);
        let lines = publisher.publish(Change::default().put(&id, &item));
        (publisher.document, publisher.position) = (document, position);
        lines.replace("10.0.0.1", "10.6.6.6")
    };
    let opened = control_plane.streams().len();
    control_plane.send(lines);
    wait::until(SOON, async || control_plane.streams().len() > opened).await;
    assert_eq!(following.state.borrow().items.len(), 1);
    control_plane.publish(put("b"));
    following.holds(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_does_not_fill_the_memory() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let following = follow(&link);
    following.is_at(&control_plane).await;
    let opened = control_plane.streams().len();
    control_plane.send("x".repeat(2 << 20));
    wait::until(SOON, async || control_plane.streams().len() > opened).await;
    control_plane.publish(put("a"));
    following.holds(1).await;
}

#[tokio::test]
async fn a_node_comes_back_at_the_turn_that_it_was_told() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    control_plane.publish(put("a"));
    let turn = Duration::from_millis(1_200);
    *control_plane.shared.turn.lock().unwrap() = Some(turn);
    let begun = Instant::now();
    let following = follow(&link);
    following.holds(1).await;
    assert!(begun.elapsed() >= turn, "not by its own, shorter backoff");
    assert_eq!(following.feed.status().interruptions, 0);
    assert_eq!(control_plane.streams().len(), 1);
}

/// There is one thread: held up, it could not heal the disk.
#[tokio::test]
async fn another_ring_is_followed_once_a_hung_disk_is_back_and_nobody_is_held_up_until_then() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    control_plane.publish(put("a"));
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let following = follow(&link);
    following.holds(1).await;
    let hung = HungFile::at(&dir.path().join("state/feeds/routes-global/base.new"));
    // Two change sets in one piece: once the first one is shown, the second one is being written.
    let lines = {
        let mut publisher = control_plane.shared.publisher.lock().unwrap();
        let first = publisher.publish(put("b"));
        let _ = publisher.publish(put("c"));
        first + &publisher.full(Change::default())
    };
    control_plane.send(lines);
    following.holds(2).await;

    // There and back: the stream is given up.
    following.feed.set_ring(Ring::Canary);
    following.feed.set_ring(Ring::All);
    wait::until(SOON, async || !following.feed.status().connected).await;
    let written = spawn_blocking(|| hung.heal()).await.unwrap();
    assert!(!written.is_empty());
    following.holds(3).await;
}
