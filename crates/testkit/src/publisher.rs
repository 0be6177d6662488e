//! The writing end of a feed, in memory: what the control plane does with tables. For tests of who
//! follows feeds.

use domain::generation::{Epoch, Generation, Position};
use protocol::feed::{
    Commit, DropCause, FeedName, SecretFrame,
    digest::{Document, Rendered},
    signature::Signer,
    writer,
};
use serde::Serialize;

/// Keeps a document and writes change sets as NDJSON.
#[derive(Debug)]
pub struct Publisher {
    signer: Signer,
    feed: FeedName,
    /// The document as published.
    pub document: Document,
    /// Where it stands.
    pub position: Position,
}

/// What one change set changes.
#[derive(Debug, Default)]
pub struct Change {
    puts: Vec<(String, Rendered)>,
    deletes: Vec<(String, Option<DropCause>)>,
    secrets: Vec<SecretFrame>,
}

impl Change {
    /// Adds or replaces an item.
    ///
    /// # Panics
    /// When the item can't be JSON.
    #[must_use]
    pub fn put(mut self, id: &str, item: &impl Serialize) -> Self {
        let item = Rendered::of(item).expect("the item is JSON");
        self.puts.push((id.to_owned(), item));
        self
    }

    /// Removes an item.
    #[must_use]
    pub fn delete(mut self, id: &str, cause: Option<DropCause>) -> Self {
        self.deletes.push((id.to_owned(), cause));
        self
    }

    /// Sends a secret along.
    #[must_use]
    pub fn secret(mut self, key: &str, version: i64, value: &str) -> Self {
        self.secrets.push(SecretFrame {
            key: key.to_owned(),
            version,
            value: value.to_owned(),
        });
        self
    }
}

impl Publisher {
    /// An empty document at `1/0`, signed by this key (PKCS#8).
    ///
    /// # Panics
    /// When the key is none.
    #[must_use]
    pub fn new(feed: FeedName, key: &[u8]) -> Self {
        Self {
            signer: Signer::from_pkcs8(key).expect("an Ed25519 key"),
            feed,
            document: Document::default(),
            position: Position {
                epoch: Epoch(1),
                generation: Generation(0),
            },
        }
    }

    /// As in an identity's feed keys.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.signer.public_key()
    }

    /// Changes the document and answers the difference.
    #[must_use]
    pub fn publish(&mut self, change: Change) -> String {
        self.position.generation.0 += 1;
        for (id, _) in &change.deletes {
            self.document.delete(id);
        }
        for (id, item) in &change.puts {
            self.document.put(id, item.clone());
        }
        self.lines(false, change)
    }

    /// The whole document, with tombstones and secrets of `extra`.
    #[must_use]
    pub fn full(&self, extra: Change) -> String {
        let items = self.document.iter();
        let puts = items.map(|(id, item)| (id.to_owned(), item.clone()));
        self.lines(
            true,
            Change {
                puts: puts.collect(),
                ..extra
            },
        )
    }

    /// The newest signed commit.
    #[must_use]
    pub fn commit(&self) -> Commit {
        let count = u64::try_from(self.document.len()).unwrap_or(u64::MAX);
        let digest = self.document.digest();
        self.signer
            .commit(self.feed.clone(), self.position, digest, count)
    }

    fn lines(&self, full: bool, change: Change) -> String {
        let begin = writer::begin(self.position, full);
        let puts = change.puts.iter().map(|(id, item)| writer::put(id, item));
        let deletes = change.deletes.into_iter();
        let deletes = deletes.map(|(id, cause)| writer::delete(&id, cause));
        let secrets = change.secrets.into_iter().map(writer::secret);
        let commit = writer::commit(self.commit());
        [begin]
            .into_iter()
            .chain(puts)
            .chain(deletes)
            .chain(secrets)
            .chain([commit])
            .collect::<Result<_, _>>()
            .expect("frames are JSON")
    }
}
