//! From a document to the items that are shown: each is parsed once, and one that this build can't
//! read leaves its last good version in place.

use std::{collections::BTreeSet, sync::Arc};

use domain::generation::Position;
use protocol::{
    feed::{
        digest::{Document, Rendered},
        reader::ChangeSet,
    },
    item::Item,
};

use super::state::{Entry, Items, Standing};
use crate::brake::{Kept, KeptItems, Why};

/// The state between two documents.
pub struct View<'a, T> {
    pub before: &'a Document,
    pub before_kept: &'a KeptItems,
    pub after: &'a Document,
    /// What is kept beside `after`.
    pub kept: KeptItems,
    /// Ids of items of `after` that this build can't read.
    pub refused: BTreeSet<String>,
    /// The last good items; of `before` until refreshed.
    pub items: Items<T>,
}

impl<T: Item> View<'_, T> {
    /// Goes from `before` to `after`, by what the change set may have touched.
    pub fn change(&mut self, set: &ChangeSet) {
        self.refresh(&touched(set, self.before, self.before_kept));
    }

    /// Builds all from nothing.
    pub fn build(&mut self) {
        let ids = self.after.iter().map(|(id, _)| id.to_owned());
        self.refresh(&ids.chain(self.kept.keys().cloned()).collect());
    }

    fn refresh(&mut self, ids: &BTreeSet<String>) {
        for id in ids {
            match self.after.get(id) {
                Some(rendered) => self.take(id, rendered),
                None => self.keep_or_drop(id),
            }
        }
    }

    /// The document's version, or the last good one if that can't be read.
    fn take(&mut self, id: &str, rendered: &Rendered) {
        let known = self.items.get(id).is_some_and(|entry| {
            entry.standing == Standing::Current && entry.sha256 == *rendered.sha256()
        });
        if known {
            return;
        }
        match read(id, rendered) {
            Ok(entry) => {
                self.kept.remove(id);
                self.refused.remove(id);
                self.items.insert(id.into(), Arc::new(entry));
            }
            Err(error) => {
                tracing::warn!(id, %error, "an item can't be used by this version");
                self.refused.insert(id.to_owned());
                self.keep_stale(id);
            }
        }
    }

    fn keep_stale(&mut self, id: &str) {
        let stale = match self.before_kept.get(id) {
            Some(kept) => Some(Kept {
                why: Why::Stale,
                ..kept.clone()
            }),
            None => self.before.get(id).map(|item| Kept {
                item: item.clone(),
                why: Why::Stale,
                since: Position::default(),
            }),
        };
        if let Some(stale) = stale {
            self.kept.insert(id.to_owned(), stale);
        }
        self.keep_or_drop(id);
    }

    fn keep_or_drop(&mut self, id: &str) {
        if self.after.get(id).is_none() {
            self.refused.remove(id);
        }
        let entry = self
            .kept
            .get(id)
            .and_then(|kept| Entry::read(&kept.item, kept.why.into()).ok());
        match entry {
            Some(entry) => {
                self.items.insert(id.into(), Arc::new(entry));
            }
            None => {
                self.kept.remove(id);
                self.items.remove(id);
            }
        }
    }
}

/// Why an item can't be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Unreadable(#[from] serde_json::Error),
    #[error("it is the item {0}")]
    Another(String),
}

fn read<T: Item>(id: &str, rendered: &Rendered) -> Result<Entry<T>, Unusable> {
    let entry = Entry::<T>::read(rendered, Standing::Current)?;
    match entry.item.id() {
        Some(own) if own != id => Err(Unusable::Another(own)),
        _ => Ok(entry),
    }
}

/// The ids whose entries a change set may change.
fn touched(set: &ChangeSet, before: &Document, kept: &KeptItems) -> BTreeSet<String> {
    let puts = set.puts.iter().map(|(id, _)| id.clone());
    let deletes = set.deletes.iter().map(|(id, _)| id.clone());
    let mut ids: BTreeSet<String> = puts.chain(deletes).collect();
    if set.full {
        ids.extend(before.iter().map(|(id, _)| id.to_owned()));
        ids.extend(kept.keys().cloned());
    }
    ids
}
