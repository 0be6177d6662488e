//! Feeds at rest: rendered items, a generation that rises with each change, tombstones.

use std::{collections::BTreeMap, sync::Arc};

use control_plane::store::{
    feed::{Change, Changes, Following, Head},
    route::Positions,
};
use domain::generation::{Generation, Position};
use protocol::feed::{DropCause, FeedName, digest::Document};

use super::Tables;
use crate::clock::Millis;

/// A feed.
#[derive(Debug, Clone)]
pub struct FeedRow {
    pub generation: i64,
    pub digest: String,
    pub document: Document,
    /// In which generation each item came.
    generations: BTreeMap<String, i64>,
    tombstones: BTreeMap<String, Tombstone>,
}

/// What is left of an item.
#[derive(Debug, Clone, Copy)]
struct Tombstone {
    generation: i64,
    cause: DropCause,
    at: Millis,
}

impl Default for FeedRow {
    fn default() -> Self {
        let document = Document::default();
        Self {
            generation: 1,
            digest: document.digest(),
            document,
            generations: BTreeMap::new(),
            tombstones: BTreeMap::new(),
        }
    }
}

impl Tables {
    /// Changes feeds; answers where each now stands, changed or not.
    pub fn write_feeds(&mut self, changes: BTreeMap<FeedName, Vec<Change>>) -> Positions {
        self.follow_timeline();
        let epoch = self.platform.epoch;
        let mut positions = Positions::new();
        for (feed, changes) in changes {
            let generation = Generation(self.write_feed(&feed, changes));
            positions.insert(feed, Position { epoch, generation });
        }
        positions
    }

    fn write_feed(&mut self, feed: &FeedName, changes: Vec<Change>) -> i64 {
        let now = self.clock;
        let row = self.feeds.entry(feed.clone()).or_default();
        let last: BTreeMap<String, Change> = changes
            .into_iter()
            .map(|change| (change.id().to_owned(), change))
            .collect();
        let effective: Vec<Change> = last
            .into_values()
            .filter(|change| row.is_effective(change))
            .collect();
        if effective.is_empty() {
            return row.generation;
        }
        let row = Arc::make_mut(row);
        row.generation += 1;
        effective
            .into_iter()
            .for_each(|change| row.apply(change, now));
        row.digest = row.document.digest();
        self.written.insert(feed.clone());
        row.generation
    }

    /// Where a feed stands; makes it if need be.
    pub fn head(&mut self, feed: &FeedName) -> Head {
        let row = Arc::clone(self.feeds.entry(feed.clone()).or_default());
        Head {
            position: self.position(feed),
            digest: row.digest.clone(),
            count: u64::try_from(row.document.len()).unwrap_or(u64::MAX),
        }
    }

    /// Where a feed stands.
    #[must_use]
    pub fn position(&self, feed: &FeedName) -> Position {
        let generation = self.feeds.get(feed).map_or(0, |row| row.generation);
        Position {
            epoch: self.platform.epoch,
            generation: Generation(generation),
        }
    }

    /// What has changed since `following`.
    pub fn changes(&mut self, feed: &FeedName, following: Following) -> Changes {
        self.follow_timeline();
        let head = self.head(feed);
        let full = following.needs_full(head.position, 0);
        let after = if full { -1 } else { following.after.0 };
        let Some(row) = self.feeds.get(feed) else {
            return Changes {
                head,
                full,
                items: Vec::new(),
                deleted: Vec::new(),
                secrets: Vec::new(),
            };
        };
        let newer = row.generations.iter().filter(|(_, at)| **at > after);
        let items = newer
            .filter_map(|(id, _)| Some((id.clone(), row.document.get(id)?.clone())))
            .collect();
        let gone = row.tombstones.iter();
        let gone = gone.filter(|(_, tombstone)| tombstone.generation > after);
        Changes {
            head,
            full,
            items,
            deleted: gone.map(|(id, left)| (id.clone(), left.cause)).collect(),
            secrets: Vec::new(),
        }
    }

    /// Ids of a feed's items with this prefix.
    #[must_use]
    pub fn item_ids(&self, feed: &FeedName, prefix: &str) -> Vec<String> {
        let row = self.feeds.get(feed);
        row.into_iter()
            .flat_map(|row| row.generations.keys())
            .filter(|id| id.starts_with(prefix))
            .cloned()
            .collect()
    }
}

impl FeedRow {
    fn is_effective(&self, change: &Change) -> bool {
        match (change, self.document.get(change.id())) {
            (Change::Put { item, .. }, Some(stored)) => item.sha256() != stored.sha256(),
            (Change::Put { .. } | Change::LetGo { .. }, None)
            | (Change::Delete { .. }, Some(_)) => true,
            (Change::Delete { .. }, None) | (Change::LetGo { .. }, Some(_)) => false,
        }
    }

    fn apply(&mut self, change: Change, at: Millis) {
        match change {
            Change::Put { id, item, .. } => {
                self.document.put(&id, item);
                self.tombstones.remove(&id);
                self.generations.insert(id, self.generation);
            }
            Change::Delete { id, cause } | Change::LetGo { id, cause } => {
                self.document.delete(&id);
                self.generations.remove(&id);
                let tombstone = Tombstone {
                    generation: self.generation,
                    cause,
                    at,
                };
                self.tombstones.insert(id, tombstone);
            }
        }
    }

    /// In which generation and when an item left that is not there.
    #[must_use]
    pub fn gone(&self, id: &str) -> Option<(i64, Millis)> {
        let tombstone = self.tombstones.get(id)?;
        Some((tombstone.generation, tombstone.at))
    }

    /// In which generation an item left that is not there.
    #[must_use]
    pub fn dropped_at(&self, id: &str) -> Option<i64> {
        self.tombstones.get(id).map(|left| left.generation)
    }

    /// In which generation an item came.
    #[must_use]
    pub fn generation_of(&self, id: &str) -> Option<i64> {
        self.generations.get(id).copied()
    }
}
