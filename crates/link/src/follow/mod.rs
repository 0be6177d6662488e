//! Following a feed: the state from disk first, then a stream that is opened again and again for as
//! long as the process lives. Cold start, reconnect and resync are this one path.

mod ledger;
mod state;
mod view;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{generation::Position, ring::Ring};
use protocol::{
    feed::{Commit, FeedName, lines, reader},
    item::Item,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::timeout,
};

use crate::{
    backoff::Backoff,
    client::{self, Client, next_piece},
    identity::Identity,
    node_key::NodeKey,
    snapshot,
    writing::Writing,
};

pub use ledger::{Ledger, Received};
pub use state::{Entry, Items, Secrets, Standing, State};

/// The control plane says `idle` every 10 s: longer silence is a broken line.
const IDLE_TIMEOUT: Duration = Duration::from_secs(25);

/// Header with the newest signed commit, by which a restored control plane learns what it lost.
pub const COMMITS_HEADER: &str = "railhead-commits";

/// Why a feed is not followed at the moment. The last good state stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane can't be asked.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// What it sent is refused.
    #[error("a change set is refused: {0}")]
    Refused(#[from] reader::Error),
    /// What it sent is refused.
    #[error("a change set is refused: {0}")]
    Line(#[from] lines::TooLong),
    /// What it sent can't be kept.
    #[error("a change set can't be stored, so it is not applied: {0}")]
    Snapshot(#[from] snapshot::Error),
    /// Nothing came for too long.
    #[error("nothing came for {} s, not even an idle frame", IDLE_TIMEOUT.as_secs())]
    Silent,
    /// A bug of ours, kept to this feed.
    #[error("applying a change set panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
    /// The commit does not fit a header.
    #[error("the newest commit can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// Whether the control plane was not reached: then it is worth another try as soon as it was. What can't
    /// be stored or is refused will be so again.
    const fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Silent)
    }

    /// Stable, snake_case.
    fn code(&self) -> &str {
        match self {
            Self::Client(error) => error.code(),
            Self::Refused(refused) => refused.code(),
            Self::Line(_) => "feed_line_too_long",
            Self::Snapshot(_) => "feed_not_stored",
            Self::Silent => "feed_silent",
            Self::Panicked(_) | Self::Json(_) => "feed_internal",
        }
    }
}

/// How a feed stands, for reports, metrics and readiness.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The newest commit applied; none before the first.
    pub commit: Option<Commit>,
    /// Drops that the brake holds.
    pub held: usize,
    /// Items that a new epoch does not know.
    pub orphaned: usize,
    /// Items that this build can't read.
    pub refused: usize,
    /// Secrets that items refer to but that have not come.
    pub missing_secrets: usize,
    /// A stream is open.
    pub connected: bool,
    /// Since the process started the control plane has said what is newest; until then all is from the disk.
    pub heard: bool,
    /// A part of the snapshot was damaged at the start.
    pub damaged: bool,
    /// How often the stream broke off or sent something that was refused.
    pub interruptions: u64,
}

/// A feed whatever its items are. Clones are the same feed.
#[derive(Debug, Clone)]
pub struct Feed {
    tier: FeedName,
    ring: Arc<watch::Sender<Ring>>,
    status: Arc<watch::Sender<Status>>,
    release: Arc<watch::Sender<Position>>,
    reconnect: Arc<Notify>,
}

impl Feed {
    fn new(name: &FeedName) -> Self {
        Self {
            tier: name.tier(),
            ring: Arc::new(watch::Sender::new(name.ring().unwrap_or_default())),
            status: Arc::default(),
            release: Arc::default(),
            reconnect: Arc::default(),
        }
    }

    /// Its name, with the ring that is followed now.
    #[must_use]
    pub fn name(&self) -> FeedName {
        self.tier.with_ring(*self.ring.borrow())
    }

    /// Its name whatever the ring.
    #[must_use]
    pub const fn tier(&self) -> &FeedName {
        &self.tier
    }

    /// Follows this ring's routes from now on; the last good ones stay until these have come whole.
    pub fn set_ring(&self, ring: Ring) {
        self.ring.send_if_modified(|current| {
            let changed = *current != ring;
            *current = ring;
            changed
        });
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Changes of how it stands.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// An operator's override: what is held or orphaned since `position` or before is let go.
    pub fn release(&self, position: Position) {
        self.release.send_if_modified(|released| {
            let is_newer = position > *released;
            *released = position.max(*released);
            is_newer
        });
    }

    /// The control plane has something newer: don't wait for the end of a backoff.
    pub(crate) fn hurry(&self) {
        if !self.status.borrow().connected {
            self.reconnect.notify_one();
        }
    }

    fn set_connected(&self, connected: bool) {
        self.status.send_if_modified(|status| {
            let changed = status.connected != connected;
            status.connected = connected;
            changed
        });
    }
}

/// Names and values of a query or of headers.
type Pairs = Vec<(&'static str, String)>;

/// Follows one feed.
#[derive(Debug)]
pub struct Follower<T> {
    feed: Feed,
    state: watch::Receiver<Arc<State<T>>>,
    /// Whoever works on it may wait for the disk, also after the stream that it works for was given up: no thread of
    /// the runtime may wait for the lock. A panic under it leaves a ledger whose shown state is the last good one.
    ledger: Arc<Mutex<Ledger<T>>>,
    identity: Identity,
    client: Client,
    writing: Writing,
    /// From the load on, so that an override that comes before [`Self::run`] is not missed.
    released: watch::Receiver<Position>,
}

impl<T: Item> Follower<T> {
    pub(crate) fn load(
        name: FeedName,
        state_dir: &Path,
        node_key: NodeKey,
        identity: Identity,
        client: Client,
        writing: Writing,
    ) -> Result<Self, Error> {
        let feed = Feed::new(&name);
        let keys = identity.credentials().feed_keys.clone();
        let (status, denied) = (feed.status.clone(), identity.denied().clone());
        let ledger = Ledger::load(name, state_dir, node_key, keys, status, denied)?;
        if let Some(ring) = ledger.applied().and_then(|commit| commit.feed.ring()) {
            feed.set_ring(ring);
        }
        Ok(Self {
            released: feed.release.subscribe(),
            feed,
            state: ledger.state(),
            ledger: Arc::new(Mutex::new(ledger)),
            identity,
            client,
            writing,
        })
    }

    /// The last good state; its first value is from disk.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State<T>>> {
        self.state.clone()
    }

    /// The feed, for reports and metrics.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Connects and follows for ever. To be spawned after the first reconcile from disk.
    pub async fn run(self) {
        let mut backoff = Backoff::default();
        let mut released = self.released.clone();
        let mut rings = self.feed.ring.subscribe();
        let mut returned = self.writing.returned();
        loop {
            rings.mark_unchanged();
            let ended = tokio::select! {
                ended = self.stream(&mut backoff) => ended,
                ring = next(&mut rings) => {
                    tracing::info!(feed = %self.feed.tier, %ring, "another ring's routes are followed from now on");
                    Ok(())
                }
                // Whatever the other process has left there, the next start of this one finds its own.
                _ = next(&mut returned) => self.blocking(|_| Ok(Received::default())).await.map(drop),
                position = next(&mut released) => {
                    let done = self.release(position).await;
                    if done.is_err() {
                        released.mark_changed();
                    }
                    done
                }
            };
            self.feed.set_connected(false);
            if let Err(Error::Client(error)) = &ended
                && let Some(turn) = error.turn()
            {
                tracing::info!(feed = %self.feed.name(), wait = ?turn, "the control plane lets nodes back one after the other");
                tokio::time::sleep(turn).await;
            } else if let Err(error) = ended {
                self.feed
                    .status
                    .send_modify(|status| status.interruptions += 1);
                tracing::warn!(feed = %self.feed.name(), code = error.code(), %error, "the feed is interrupted; the last good state goes on");
                let pause = tokio::time::sleep(backoff.next_delay());
                tokio::select! {
                    () = pause => {}
                    () = self.feed.reconnect.notified(), if error.is_of_the_way() => {}
                }
            }
        }
    }

    /// One connection, until it ends.
    async fn stream(&self, backoff: &mut Backoff) -> Result<(), Error> {
        let (query, headers) = self.request().await?;
        let opened = self.client.stream("/node/v1/desired", &query, &headers);
        let (url, mut response) = opened.await?;
        let keys = self.identity.credentials().feed_keys.clone();
        self.ledger.lock().await.connected(keys);
        self.feed.set_connected(true);
        loop {
            let piece = timeout(IDLE_TIMEOUT, next_piece(&url, &mut response)).await;
            let Some(piece) = piece.map_err(|_| Error::Silent)?? else {
                // A replica that shuts down ends its streams in good order; another one takes over.
                tokio::time::sleep(backoff.next_delay()).await;
                return Ok(());
            };
            let received = self.blocking(move |ledger| ledger.receive(&piece)).await?;
            if received.alive {
                backoff.reset();
            }
            if received.wants_full {
                tracing::warn!(feed = %self.feed.name(), "secrets are missing: asking for the whole document");
                return Ok(());
            }
        }
    }

    async fn release(&self, position: Position) -> Result<(), Error> {
        self.blocking(move |ledger| ledger.release(position).map(|()| Received::default()))
            .await?;
        Ok(())
    }

    /// Runs on a thread that may wait for the disk.
    async fn blocking(
        &self,
        work: impl FnOnce(&mut Ledger<T>) -> Result<Received, Error> + Send + 'static,
    ) -> Result<Received, Error> {
        let turn = self.writing.turn().await;
        let mut ledger = self.ledger.clone().lock_owned().await;
        let working = move || {
            ledger.begin(&turn)?;
            work(&mut ledger)
        };
        tokio::task::spawn_blocking(working).await?
    }

    async fn request(&self) -> Result<(Pairs, Pairs), Error> {
        let mut ledger = self.ledger.lock().await;
        let ring = *self.feed.ring.borrow();
        ledger.follow(ring);
        let mut query = vec![("feed", self.feed.tier.with_ring(ring).to_string())];
        let mut headers = Vec::new();
        if let Some(commit) = ledger.applied() {
            headers.push((COMMITS_HEADER, serde_json::to_string(&[commit])?));
        }
        if let Some(position) = ledger.position().filter(|_| !ledger.wants_full()) {
            query.push(("epoch", position.epoch.0.to_string()));
            query.push(("after", position.generation.0.to_string()));
        }
        Ok((query, headers))
    }
}

/// The next value that is set.
async fn next<V: Copy>(values: &mut watch::Receiver<V>) -> V {
    if values.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    *values.borrow_and_update()
}
