//! The edge's report: where it is, what it serves by, and how requests of each deployment fared.

use std::sync::Arc;

use link::{Link, follow::Feed, report::Reporter};
use protocol::{
    feed::{Commit, FeedName},
    report::{EdgeReport, RoleReport},
};

use crate::{config::Config, run::Running};

/// Reports for as long as the edge lives, and at once when commits have been applied.
pub fn spawn(link: &Link, config: &Config, running: &Running, feeds: Vec<Feed>) {
    let version = telemetry::BuildInfo::current().to_string();
    let applied = running.applied.clone();
    let acknowledge = move |feed: &FeedName| -> Option<Commit> {
        let applied = applied.borrow();
        match feed {
            FeedName::GlobalRoutes(_) => applied.global.clone(),
            FeedName::RegionRoutes(..) => applied.region.clone(),
            FeedName::Node(_) => None,
        }
    };
    let followed = feeds.clone();
    let reporter = Reporter::new(link, version, feeds).acknowledging(Arc::new(acknowledge));
    let poke = reporter.poke();
    let mut changes = running.applied.clone();
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            poke.now();
        }
    });
    let state = Arc::clone(&running.state);
    let (forward_address, public_address) = (config.listen_forward, config.listen_https);
    tokio::spawn(reporter.run(move || {
        RoleReport::Edge(EdgeReport {
            forward_address,
            public_address,
            deployments: state.counters.snapshot(),
            traffic: {
                let unread = followed.iter().map(|feed| feed.status().refused).sum();
                state.metrics.traffic.snapshot(unread)
            },
        })
    }));
}
