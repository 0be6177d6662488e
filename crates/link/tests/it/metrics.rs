use domain::ring::Ring;
use link::follow::Follower;
use prometheus::Registry;
use protocol::{feed::FeedName, item::GlobalRouteItem, join::Role};
use tempfile::tempdir;

use super::control_plane::ControlPlane;

/// Dashboards and alerts are written against these.
#[tokio::test(flavor = "multi_thread")]
async fn the_names_stay() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let feed = FeedName::GlobalRoutes(Ring::All);
    let follower: Follower<GlobalRouteItem> = link.follow(feed).unwrap();
    let registry = Registry::new();
    link::metrics::register(&registry, &link, vec![follower.feed()]).unwrap();
    insta::assert_snapshot!(testkit::metrics::catalogue(&registry.gather()), @"
    railhead_link_certificate_expiry_timestamp_seconds{} gauge
    railhead_link_feed_connected{feed} gauge
    railhead_link_feed_generation{feed} gauge
    railhead_link_feed_interruptions_total{feed} counter
    railhead_link_feed_items_held{feed} gauge
    railhead_link_feed_items_orphaned{feed} gauge
    railhead_link_feed_items_refused{feed} gauge
    railhead_link_feed_secrets_missing{feed} gauge
    railhead_link_feed_snapshot_damaged{feed} gauge
    ");
}
