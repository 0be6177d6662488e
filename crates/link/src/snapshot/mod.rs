//! A feed's last good state on disk: a base file, replaced whole, and an append-only journal of change
//! sets behind it. Each part carries its hash: a damaged tail costs what it held, never what stands
//! before it. Rewriting 100,000 routes for each change would cost 20 MB and 60 ms.

mod base;
mod journal;
mod record;
mod secrets;
mod storage;

use std::path::{Path, PathBuf};

use protocol::feed::{Commit, FeedName, SecretFrame, SecretRef, digest::Document};
use zeroize::Zeroizing;

pub use record::Record;
pub use storage::Storage;

use crate::{
    brake::KeptItems,
    disk,
    node_key::{self, NodeKey},
};

/// Below this size a journal is never worth compacting.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;

/// Why a state can't be stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A secret can't be sealed.
    #[error(transparent)]
    NodeKey(#[from] node_key::Error),
    /// Not to be written as JSON.
    #[error("the state can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What is kept of a feed.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The commit that signs the document; none before the first.
    pub commit: Option<Commit>,
    /// The feed's document.
    pub document: Document,
    /// What is kept beside it.
    pub kept: KeptItems,
    /// Rises with each stored change, so that a journal older than its base changes nothing.
    sequence: u64,
}

impl Stored {
    /// A state to be stored.
    #[must_use]
    pub const fn new(commit: Commit, document: Document, kept: KeptItems) -> Self {
        Self {
            commit: Some(commit),
            document,
            kept,
            sequence: 0,
        }
    }
}

/// Something on disk that could not be read and was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot {} is damaged ({what}); going on with the last good state before it", path.display())]
pub struct Damage {
    path: PathBuf,
    what: String,
}

/// The folder of one feed.
#[derive(Debug)]
pub struct Store {
    base: PathBuf,
    base_bytes: u64,
    journal: journal::Journal,
    secrets: secrets::Folder,
    sequence: u64,
    /// The journal's tail is not to be trusted, or nobody knows which base is there: the next write replaces the base.
    must_compact: bool,
}

impl Store {
    /// Opens a feed's folder and reads the last good state; whatever the ring, it is one folder.
    ///
    /// # Errors
    /// When the folder can't be used. Damaged content is no error but told beside the state.
    pub fn open(
        state_dir: &Path,
        feed: &FeedName,
        node_key: NodeKey,
    ) -> Result<(Self, Stored, Option<Damage>), Error> {
        let dir = state_dir
            .join("feeds")
            .join(feed.tier().to_string().replace('/', "-"));
        disk::make_dir(&dir)?;
        let base = dir.join("base");
        let (mut stored, base_bytes, base_damage) = base::read(&base)?;
        let (journal, records, mut damage) = journal::Journal::read(&dir.join("journal"))?;
        for record in records {
            if let Err(what) = record.apply_to(&mut stored) {
                damage = Some(Damage {
                    path: dir.join("journal"),
                    what,
                });
                break;
            }
        }
        let damage = base_damage.or(damage);
        let store = Self {
            base,
            base_bytes,
            journal,
            secrets: secrets::Folder::open(&dir.join("secrets"), node_key)?,
            sequence: stored.sequence,
            must_compact: damage.is_some(),
        };
        Ok((store, stored, damage))
    }

    /// Stores a change; when this returns, it survives a crash.
    ///
    /// # Errors
    /// When the disk refuses: then the stored state is the one before.
    pub fn save(&mut self, change: Record, after: &Stored) -> Result<(), Error> {
        let sequence = self.sequence + 1;
        let journal_max = self.base_bytes.max(JOURNAL_BYTES_MIN);
        if self.must_compact || change.is_full() || self.journal.bytes() > journal_max {
            self.compact(sequence, after)?;
        } else {
            self.journal.append(sequence, &change)?;
        }
        self.sequence = sequence;
        Ok(())
    }

    /// Another process may have written: the next change replaces the base.
    pub const fn distrust(&mut self) {
        self.must_compact = true;
    }

    fn compact(&mut self, sequence: u64, after: &Stored) -> Result<(), Error> {
        let bytes = base::encode(sequence, after)?;
        // Should this fail, it may be the new one nonetheless, which would pass over a change in the journal.
        self.must_compact = true;
        disk::replace(&self.base, &bytes)?;
        self.base_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // From here on the base alone counts; older records in the journal are passed over.
        self.must_compact = self.journal.clear().is_err();
        Ok(())
    }

    /// Stores secrets, sealed, each as a file of its own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_secrets(&self, secrets: &[SecretFrame]) -> Result<(), Error> {
        secrets
            .iter()
            .try_for_each(|secret| self.secrets.put(secret))
    }

    /// A stored secret; nothing when it is missing.
    ///
    /// # Errors
    /// When it is there but can't be opened.
    pub fn secret(&self, secret: &SecretRef) -> Result<Option<Zeroizing<String>>, Error> {
        self.secrets.get(secret)
    }

    /// Erases all secrets but these.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn retain_secrets<'a>(
        &self,
        wanted: impl Iterator<Item = &'a SecretRef>,
    ) -> Result<(), Error> {
        self.secrets.retain(wanted)
    }
}

#[cfg(test)]
mod tests;
