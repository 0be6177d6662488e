//! Reports: the node's whole observed state, at the interval that the control plane asks for, and at
//! once when something changed. Time is measured on the monotonic clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::SelectAll};
use protocol::{
    feed::{Commit, FeedName},
    report::{Report, ReportAnswer, RoleReport},
};
use rand::RngExt as _;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_stream::wrappers::WatchStream;

use crate::{Link, client::Client, follow::Feed, writing::Writing};

const INTERVAL: Duration = Duration::from_secs(5);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(15);
/// Changes that come together are reported together.
const GATHER: Duration = Duration::from_millis(20);
/// However much changes while the control plane is away.
const RETRY: Duration = Duration::from_millis(500);

/// Asks for a report at once. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Poke(Arc<Notify>);

impl Poke {
    /// Something changed: report within 100 ms.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// The commit of a feed that a node works by, when that is later than storing it.
pub type Acknowledge = Arc<dyn Fn(&FeedName) -> Option<Commit> + Send + Sync>;

/// Sends reports.
pub struct Reporter {
    client: Client,
    writing: Writing,
    boot_id: String,
    version: String,
    feeds: Vec<Feed>,
    acknowledge: Option<Acknowledge>,
    poke: Poke,
    sequence: u64,
    interval: Duration,
    /// The last attempt failed; said once, not at each attempt.
    failing: bool,
}

impl Reporter {
    /// For a node and the feeds it follows.
    #[must_use]
    pub fn new(link: &Link, version: String, feeds: Vec<Feed>) -> Self {
        let boot: [u8; 16] = rand::rng().random();
        Self {
            client: link.client().clone(),
            writing: link.writing().clone(),
            boot_id: hex::encode(boot),
            version,
            feeds,
            acknowledge: None,
            poke: Poke::default(),
            sequence: 0,
            interval: INTERVAL,
            failing: false,
        }
    }

    /// Reports these commits as applied, instead of the newest stored ones: an acknowledgement lets
    /// the control plane end what the node used before.
    #[must_use]
    pub fn acknowledging(mut self, acknowledge: Acknowledge) -> Self {
        self.acknowledge = Some(acknowledge);
        self
    }

    /// For who learns first that something changed.
    #[must_use]
    pub fn poke(&self) -> Poke {
        self.poke.clone()
    }

    /// Changes with each start of the process.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Reports for ever; `build` is asked each time for what it sees now.
    pub async fn run(self, build: impl FnMut() -> RoleReport + Send) {
        self.run_until(std::future::pending(), build).await;
    }

    /// Reports until the node comes to its end, and then once more.
    pub async fn run_until(
        mut self,
        end: impl Future<Output = ()> + Send,
        mut build: impl FnMut() -> RoleReport + Send,
    ) {
        tokio::pin!(end);
        let mut changes: SelectAll<_> = self
            .feeds
            .iter()
            .map(|feed| WatchStream::from_changes(feed.watch()))
            .collect();
        loop {
            let began = Instant::now();
            let pause = match self.send(build()).await {
                true => GATHER,
                false => RETRY,
            };
            let due = began + self.interval;
            tokio::select! {
                () = &mut end => break,
                () = sleep_until(due) => {}
                () = self.poke.0.notified() => sleep(pause).await,
                Some(_) = changes.next() => sleep(pause).await,
            }
        }
        self.send(build()).await;
    }

    async fn send(&mut self, role: RoleReport) -> bool {
        // One process speaks for the node.
        drop(self.writing.turn().await);
        self.sequence += 1;
        let report = self.report(role);
        match self.client.report(&report).await {
            Ok(answer) => {
                if self.failing {
                    tracing::info!("reports reach the control plane again");
                }
                self.failing = false;
                self.heed(&answer);
                true
            }
            Err(error) => {
                if !self.failing {
                    tracing::warn!(%error, "a report did not reach the control plane; trying on");
                }
                self.failing = true;
                false
            }
        }
    }

    fn report(&self, role: RoleReport) -> Report {
        let mut feeds = Vec::new();
        let mut held = BTreeMap::new();
        for feed in &self.feeds {
            let status = feed.status();
            let kept = status.held + status.orphaned;
            feeds.extend(match &self.acknowledge {
                Some(acknowledge) => acknowledge(feed.tier()),
                None => status.commit,
            });
            if kept > 0 {
                held.insert(feed.name(), u64::try_from(kept).unwrap_or(u64::MAX));
            }
        }
        Report {
            boot_id: self.boot_id.clone(),
            sequence: self.sequence,
            version: self.version.clone(),
            feeds,
            held,
            role,
        }
    }

    fn heed(&mut self, answer: &ReportAnswer) {
        self.interval = Duration::from_millis(answer.interval_ms).clamp(INTERVAL_MIN, INTERVAL_MAX);
        for feed in &self.feeds {
            let name = feed.name();
            if let Some(position) = answer.release.get(&name) {
                feed.release(*position);
            }
            let applied = feed.status().commit.map(|commit| commit.position());
            if answer.feeds.get(&name).copied() > applied {
                feed.hurry();
            }
            if let Some(ring) = answer.ring {
                feed.set_ring(ring);
            }
        }
    }
}
