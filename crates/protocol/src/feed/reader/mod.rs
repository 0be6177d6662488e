//! The receiving end of a feed, without any I/O: lines in, whole and verified change sets out.
//! Whatever a change set does wrong (order, limits, age, digest, signature), the last good document
//! stays untouched and the reader is ready for the next attempt.

mod error;
mod limits;

use domain::{generation::Position, ring::Ring};

pub use error::Error;
pub use limits::Limits;

use super::{
    Commit, DropCause, FeedName, Frame, SecretFrame,
    digest::{Document, Rendered},
    signature::FeedKeys,
};

/// What a line led to.
#[derive(Debug)]
pub enum Outcome {
    /// A change set is on its way.
    Pending,
    /// Nothing new.
    Idle,
    /// A change set is whole, verified, and applied to [`Reader::document`].
    Commit(Box<ChangeSet>),
}

/// A verified change of the document.
#[derive(Debug)]
pub struct ChangeSet {
    /// The puts are the whole document, not a difference.
    pub full: bool,
    /// Added or replaced items.
    pub puts: Vec<(String, Rendered)>,
    /// Removed items and why. In a full set: what the control plane remembers of what is gone.
    pub deletes: Vec<(String, Option<DropCause>)>,
    /// Values that items refer to.
    pub secrets: Vec<SecretFrame>,
    /// What it was before.
    pub previous: Option<Commit>,
    /// What it is now.
    pub commit: Commit,
}

impl ChangeSet {
    /// The first document of an epoch whose control plane may have lost history (docs/adr/0038).
    #[must_use]
    pub fn begins_epoch(&self) -> bool {
        self.previous
            .as_ref()
            .is_some_and(|previous| previous.epoch < self.commit.epoch)
    }
}

/// A change set between its begin and its commit.
#[derive(Debug, Clone)]
struct Open {
    position: Position,
    full: bool,
    puts: Vec<(String, Rendered)>,
    deletes: Vec<(String, Option<DropCause>)>,
    secrets: Vec<SecretFrame>,
    bytes: usize,
    frames: usize,
}

/// Reads one feed. A clone costs no copy of the document.
#[derive(Debug, Clone)]
pub struct Reader {
    feed: FeedName,
    keys: FeedKeys,
    limits: Limits,
    document: Document,
    applied: Option<Commit>,
    open: Option<Open>,
}

impl Reader {
    /// A reader without a document: it asks for everything.
    #[must_use]
    pub fn new(feed: FeedName, keys: FeedKeys, limits: Limits) -> Self {
        Self {
            feed,
            keys,
            limits,
            document: Document::default(),
            applied: None,
            open: None,
        }
    }

    /// Goes on from a document kept on disk.
    ///
    /// # Errors
    /// When the document is not the one that the commit signs.
    pub fn resume(
        feed: FeedName,
        keys: FeedKeys,
        limits: Limits,
        document: Document,
        applied: Commit,
    ) -> Result<Self, Error> {
        let mut reader = Self::new(feed, keys, limits);
        reader.verify(&document, &applied)?;
        reader.document = document;
        reader.applied = Some(applied);
        Ok(reader)
    }

    /// The last good document.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The commit of the last good document.
    #[must_use]
    pub const fn applied(&self) -> Option<&Commit> {
        self.applied.as_ref()
    }

    /// What to ask for: changes after this position. Another ring's feed has positions of its own.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let own = self
            .applied
            .as_ref()
            .filter(|applied| applied.feed == self.feed);
        own.map(Commit::position)
    }

    /// Goes over to the same kind of document of another ring. The last good one stays until a whole
    /// one has come from there.
    pub fn follow(&mut self, ring: Ring) {
        self.feed = self.feed.with_ring(ring);
        self.open = None;
    }

    /// The limits, for who splits the stream into lines.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes new feed keys (a signing key is being replaced).
    pub fn set_keys(&mut self, keys: FeedKeys) {
        self.keys = keys;
    }

    /// Forgets a change set that was cut off. To be called when a connection ends.
    pub fn disconnected(&mut self) {
        self.open = None;
    }

    /// Reads one line, without its end.
    ///
    /// # Errors
    /// [`Error`]; the document stays what it was and the change set is forgotten.
    pub fn read_line(&mut self, line: &[u8]) -> Result<Outcome, Error> {
        let outcome = self
            .parse(line)
            .and_then(|frame| self.read_frame(frame, line.len()));
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    fn parse(&self, line: &[u8]) -> Result<Frame, Error> {
        if line.len() > self.limits.line_bytes {
            return Err(Error::LineTooLong {
                bytes: line.len(),
                limit: self.limits.line_bytes,
            });
        }
        serde_json::from_slice(line).map_err(|error| not_a_frame(line, &error))
    }

    fn read_frame(&mut self, frame: Frame, bytes: usize) -> Result<Outcome, Error> {
        match frame {
            Frame::Begin {
                epoch,
                generation,
                full,
            } => self.begin(Position { epoch, generation }, full),
            Frame::Put { id, item } => {
                let item = Rendered::from_json(item.get()).map_err(|source| Error::Item {
                    id: id.clone(),
                    source,
                })?;
                self.opened("put", bytes)?.puts.push((id, item));
                Ok(Outcome::Pending)
            }
            Frame::Delete { id, cause } => {
                self.opened("delete", bytes)?.deletes.push((id, cause));
                Ok(Outcome::Pending)
            }
            Frame::Secret(secret) => {
                self.opened("secret", bytes)?.secrets.push(secret);
                Ok(Outcome::Pending)
            }
            Frame::Commit(commit) => {
                self.opened("commit", bytes)?;
                self.commit(commit)
            }
            Frame::Idle {} => self.idle(),
        }
    }

    fn begin(&mut self, offered: Position, full: bool) -> Result<Outcome, Error> {
        if self.open.is_some() {
            return Err(order(
                "begin",
                "before the commit of the change set before it",
            ));
        }
        if !full && self.position().is_none() {
            return Err(Error::NothingToChange);
        }
        if let Some(applied) = self.position().filter(|applied| offered < *applied) {
            return Err(Error::Older { offered, applied });
        }
        self.open = Some(Open {
            position: offered,
            full,
            puts: Vec::new(),
            deletes: Vec::new(),
            secrets: Vec::new(),
            bytes: 0,
            frames: 0,
        });
        Ok(Outcome::Pending)
    }

    fn idle(&self) -> Result<Outcome, Error> {
        match self.open {
            None => Ok(Outcome::Idle),
            Some(_) => Err(order("idle", "inside a change set")),
        }
    }

    /// The open change set, charged with a line.
    fn opened(&mut self, frame: &'static str, bytes: usize) -> Result<&mut Open, Error> {
        // A full set may list as many tombstones and secrets as items.
        let frames_max = self.limits.items.saturating_mul(3);
        let bytes_max = self.limits.total_bytes;
        let Some(open) = &mut self.open else {
            return Err(order(frame, "outside a change set"));
        };
        open.bytes = open.bytes.saturating_add(bytes);
        open.frames += 1;
        limited("bytes", open.bytes, bytes_max)?;
        limited("frames", open.frames, frames_max)?;
        Ok(open)
    }

    fn commit(&mut self, commit: Commit) -> Result<Outcome, Error> {
        let Some(open) = self.open.take() else {
            return Err(order("commit", "outside a change set"));
        };
        if open.position != commit.position() {
            return Err(Error::OtherPosition {
                begun: open.position,
                committed: commit.position(),
            });
        }
        let document = self.changed(&open);
        self.verify(&document, &commit)?;
        self.same_history(&commit)?;
        self.document = document;
        let previous = self.applied.replace(commit.clone());
        Ok(Outcome::Commit(Box::new(ChangeSet {
            full: open.full,
            puts: open.puts,
            deletes: open.deletes,
            secrets: open.secrets,
            previous,
            commit,
        })))
    }

    /// The document that a change set leads to. In a full set deletes are only explanations.
    fn changed(&self, open: &Open) -> Document {
        let mut document = if open.full {
            Document::default()
        } else {
            self.document.clone()
        };
        if !open.full {
            for (id, _) in &open.deletes {
                document.delete(id);
            }
        }
        for (id, item) in &open.puts {
            document.put(id, item.clone());
        }
        document
    }

    fn verify(&self, document: &Document, commit: &Commit) -> Result<(), Error> {
        limited("items", document.len(), self.limits.items)?;
        limited("bytes", document.size_bytes(), self.limits.total_bytes)?;
        if commit.feed != self.feed {
            return Err(Error::OtherFeed(commit.feed.clone()));
        }
        let found = u64::try_from(document.len()).unwrap_or(u64::MAX);
        if found != commit.count {
            return Err(Error::Count {
                position: commit.position(),
                expected: commit.count,
                found,
            });
        }
        let found = document.digest();
        if found != commit.digest {
            return Err(Error::Digest {
                position: commit.position(),
                expected: commit.digest.chars().take(64).collect(),
                found,
            });
        }
        Ok(self.keys.verify(commit)?)
    }

    fn same_history(&self, commit: &Commit) -> Result<(), Error> {
        match &self.applied {
            Some(applied)
                if applied.feed == commit.feed
                    && applied.position() == commit.position()
                    && applied.digest != commit.digest =>
            {
                Err(Error::Rewritten {
                    position: commit.position(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// What the parser says, unless it could quote a secret's value.
fn not_a_frame(line: &[u8], error: &serde_json::Error) -> Error {
    let may_quote_secret = line.windows(6).any(|word| word == b"secret");
    Error::NotAFrame(if may_quote_secret {
        format!("{:?} error at column {}", error.classify(), error.column())
    } else {
        error.to_string()
    })
}

const fn order(frame: &'static str, when: &'static str) -> Error {
    Error::Order { frame, when }
}

const fn limited(what: &'static str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit {
        return Err(Error::TooLarge { what, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
