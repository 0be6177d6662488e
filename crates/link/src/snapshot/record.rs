//! One change of the stored state, and the JSON in which items keep their bytes.

use domain::generation::Position;
use protocol::feed::{Commit, digest::Rendered};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Stored;
use crate::brake::{Kept, KeptItems, Why};

/// One change of the stored state.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it leads.
    pub commit: Commit,
    /// The puts are the whole document.
    pub full: bool,
    /// Items added or replaced.
    pub puts: Vec<(String, Rendered)>,
    /// Items removed.
    pub deletes: Vec<String>,
    /// What is kept beside the document from now on; none when that did not change.
    pub kept: Option<KeptItems>,
    sequence: u64,
}

impl Record {
    /// A change that is not stored yet.
    #[must_use]
    pub const fn new(
        commit: Commit,
        full: bool,
        puts: Vec<(String, Rendered)>,
        deletes: Vec<String>,
        kept: Option<KeptItems>,
    ) -> Self {
        Self {
            commit,
            full,
            puts,
            deletes,
            kept,
            sequence: 0,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// Replays the change, or says what is wrong and changes nothing.
    pub(super) fn apply_to(self, stored: &mut Stored) -> Result<(), String> {
        if self.sequence <= stored.sequence {
            return Ok(());
        }
        if self.sequence != stored.sequence + 1 {
            return Err(format!(
                "change {} follows {}",
                self.sequence, stored.sequence
            ));
        }
        let mut document = stored.document.clone();
        for id in &self.deletes {
            document.delete(id);
        }
        for (id, item) in self.puts {
            document.put(&id, item);
        }
        if document.digest() != self.commit.digest {
            return Err(format!(
                "change {} does not lead to its digest",
                self.sequence
            ));
        }
        stored.document = document;
        stored.commit = Some(self.commit);
        stored.sequence = self.sequence;
        if let Some(kept) = self.kept {
            stored.kept = kept;
        }
        Ok(())
    }
}

/// An item on disk.
#[derive(Serialize, Deserialize)]
pub(super) struct ItemLine {
    pub id: String,
    pub item: Box<RawValue>,
}

/// A kept item on disk.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptLine {
    id: String,
    item: Box<RawValue>,
    why: Why,
    since: Position,
}

/// A change on disk.
#[derive(Serialize, Deserialize)]
pub(super) struct RecordLine {
    sequence: u64,
    commit: Commit,
    puts: Vec<ItemLine>,
    deletes: Vec<String>,
    kept: Option<Vec<KeptLine>>,
}

pub(super) fn raw(item: &Rendered) -> Result<Box<RawValue>, serde_json::Error> {
    RawValue::from_string(item.json().to_owned())
}

pub(super) fn rendered(raw: &RawValue) -> Result<Rendered, String> {
    Rendered::from_json(raw.get()).map_err(|error| error.to_string())
}

impl ItemLine {
    pub fn of(id: &str, item: &Rendered) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: id.to_owned(),
            item: raw(item)?,
        })
    }

    pub fn read(self) -> Result<(String, Rendered), String> {
        Ok((self.id, rendered(&self.item)?))
    }
}

pub(super) fn kept_lines(kept: &KeptItems) -> Result<Vec<KeptLine>, serde_json::Error> {
    let line = |(id, kept): (&String, &Kept)| {
        Ok(KeptLine {
            id: id.clone(),
            item: raw(&kept.item)?,
            why: kept.why,
            since: kept.since,
        })
    };
    kept.iter().map(line).collect()
}

pub(super) fn read_kept(lines: Vec<KeptLine>) -> Result<KeptItems, String> {
    let read = |line: KeptLine| {
        let kept = Kept {
            item: rendered(&line.item)?,
            why: line.why,
            since: line.since,
        };
        Ok((line.id, kept))
    };
    lines.into_iter().map(read).collect()
}

impl RecordLine {
    pub fn of(sequence: u64, record: &Record) -> Result<Self, serde_json::Error> {
        let puts = record.puts.iter().map(|(id, item)| ItemLine::of(id, item));
        Ok(Self {
            sequence,
            commit: record.commit.clone(),
            puts: puts.collect::<Result<_, _>>()?,
            deletes: record.deletes.clone(),
            kept: record.kept.as_ref().map(kept_lines).transpose()?,
        })
    }

    pub fn read(self) -> Result<Record, String> {
        let puts = self.puts.into_iter().map(ItemLine::read);
        Ok(Record {
            commit: self.commit,
            full: false,
            puts: puts.collect::<Result<_, _>>()?,
            deletes: self.deletes,
            kept: self.kept.map(read_kept).transpose()?,
            sequence: self.sequence,
        })
    }
}
