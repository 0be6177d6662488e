//! The epoch: raised only when the database's history may have been cut.

use domain::generation::{Epoch, Position};
use protocol::feed::FeedName;

use super::Tables;

impl Tables {
    /// Remembers the highest position that was shown, if it is of no epoch that is over.
    pub fn show(&mut self, feed: &FeedName, position: Position) {
        let shown = self.platform.shown.as_ref().map(|(_, shown)| *shown);
        if shown < Some(position) && self.platform.epoch <= position.epoch {
            self.platform.shown = Some((feed.clone(), position));
        }
    }

    /// An operator has said that this database is the true one.
    pub fn restored(&mut self) -> Epoch {
        let shown = self.platform.shown.take();
        let shown = shown.map_or(self.platform.epoch, |(_, position)| position.epoch);
        self.platform.epoch = self.epoch_after(self.platform.epoch.max(shown));
        self.platform.epoch_since = self.clock;
        self.platform.epoch
    }

    fn epoch_after(&self, last: Epoch) -> Epoch {
        let time = i64::try_from(self.clock).unwrap_or(i64::MAX);
        Epoch(time.max(last.0 + 1))
    }

    /// A changed timeline raises the epoch, unless a node has shown something higher. A new epoch is a
    /// new document of every feed.
    pub fn follow_timeline(&mut self) {
        let stored = self.platform.timeline;
        if stored == Some(self.timeline) || self.platform.shown.is_some() {
            return;
        }
        self.platform.timeline = Some(self.timeline);
        if stored.is_some() {
            self.platform.epoch = self.epoch_after(self.platform.epoch);
            self.platform.epoch_since = self.clock;
            self.begun = Some(self.platform.epoch);
            self.written = self.feeds.keys().cloned().collect();
        }
    }
}
