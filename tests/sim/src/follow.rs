//! A node's end of one feed: the real ledger (reader, brake, view) over a disk in memory, and a
//! connection that comes and goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use link::{
    follow::{Error, Ledger, Received, State, Status},
    identity::DenyList,
    snapshot::{self, Record, Storage, Stored},
};
use protocol::{
    feed::{Commit, FeedName, SecretFrame, SecretRef, reader, signature::FeedKeys},
    item::Item,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// What a node's disk has of a feed; outlives the node's process.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Snapshots>>);

/// The newest state, and the one before it.
#[derive(Debug, Default)]
struct Snapshots {
    newest: Stored,
    before: Stored,
}

impl Disk {
    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self) -> Stored {
        self.snapshots().newest.clone()
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&self) {
        *self.snapshots() = Snapshots::default();
    }

    /// The last change can't be read any more.
    pub fn lose_tail(&self) {
        let mut snapshots = self.snapshots();
        snapshots.newest = std::mem::take(&mut snapshots.before);
    }
}

impl Storage for Disk {
    fn distrust(&mut self) {}

    fn save(&mut self, _: Record, after: &Stored) -> Result<(), snapshot::Error> {
        let mut snapshots = self.snapshots();
        snapshots.before = std::mem::replace(&mut snapshots.newest, after.clone());
        drop(snapshots);
        Ok(())
    }

    fn put_secrets(&self, _: &[SecretFrame]) -> Result<(), snapshot::Error> {
        Ok(())
    }

    fn secret(&self, _: &SecretRef) -> Result<Option<Zeroizing<String>>, snapshot::Error> {
        Ok(None)
    }

    fn retain_secrets(
        &self,
        _: &mut dyn Iterator<Item = &SecretRef>,
    ) -> Result<(), snapshot::Error> {
        Ok(())
    }
}

/// A connection of one feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// With this replica.
    pub replica: usize,
    /// No other connection has it: what still comes for an older one is not heard.
    pub id: u64,
}

/// One feed as a running node follows it.
#[derive(Debug)]
pub struct Followed<T> {
    /// Asked for or open.
    pub connection: Option<Connection>,
    feed: FeedName,
    disk: Disk,
    ledger: Ledger<T>,
    status: Arc<watch::Sender<Status>>,
    keys: FeedKeys,
}

impl<T: Item> Followed<T> {
    /// Goes on from the disk.
    #[must_use]
    pub fn load(feed: FeedName, disk: &Disk, keys: FeedKeys) -> Self {
        let status = Arc::<watch::Sender<Status>>::default();
        let ledger = resume(&feed, disk, disk.stored(), &keys, &status);
        Self {
            connection: None,
            feed,
            disk: disk.clone(),
            ledger,
            status,
            keys,
        }
    }

    /// A new connection begins.
    pub fn connected(&mut self) {
        self.ledger.connected(self.keys.clone());
    }

    /// Takes a piece of the stream.
    ///
    /// # Errors
    /// When the ledger refuses it.
    pub fn receive(&mut self, bytes: &str, fault: Option<Fault>) -> Result<Received, Error> {
        match self.ledger.receive(bytes.as_bytes()) {
            Err(Error::Refused(reader::Error::Rewritten { .. }))
                if fault == Some(Fault::SameGenerationIsNewer) =>
            {
                self.receive_anew(bytes)
            }
            received => received,
        }
    }

    /// The planted mistake: a whole document is taken whatever position it had.
    fn receive_anew(&mut self, bytes: &str) -> Result<Received, Error> {
        let nothing = Stored::default();
        self.ledger = resume(&self.feed, &self.disk, nothing, &self.keys, &self.status);
        self.ledger.receive(bytes.as_bytes())
    }

    /// The newest commit on disk.
    #[must_use]
    pub fn applied(&self) -> Option<&Commit> {
        self.ledger.applied()
    }

    /// Items that it keeps although the document lacks them.
    #[must_use]
    pub fn held(&self) -> u64 {
        let status = self.status.borrow();
        u64::try_from(status.held + status.orphaned).unwrap_or(u64::MAX)
    }

    /// Whether the control plane has said since the process started what is newest.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.status.borrow().heard
    }

    /// Items of the newest document that can't be read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.status.borrow().refused
    }

    /// The last good state.
    #[must_use]
    pub fn state(&self) -> Arc<State<T>> {
        let state = self.ledger.state();
        let state = state.borrow();
        Arc::clone(&state)
    }
}

fn resume<T: Item>(
    feed: &FeedName,
    disk: &Disk,
    stored: Stored,
    keys: &FeedKeys,
    status: &Arc<watch::Sender<Status>>,
) -> Ledger<T> {
    Ledger::resume(
        feed.clone(),
        Box::new(disk.clone()),
        stored,
        keys.clone(),
        Arc::clone(status),
        DenyList::default(),
    )
}
