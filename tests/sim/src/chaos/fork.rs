//! A copy of the database has gone its own way, and a replica reads from it once: what it sends is whole and signed, of the
//! very position that its follower has, and of other content. Right behind it comes what the true database has after that.

use control_plane::{
    feed::stream,
    store::feed::{Changes, Following},
};
use domain::generation::{Epoch, Generation, Position};
use protocol::feed::{
    FeedName,
    digest::{Document, Rendered},
};

use crate::{control::Line, trace::Note, world::World};

/// What somebody asks for who has nothing.
const EVERYTHING: Following = Following {
    epoch: Epoch(0),
    after: Generation(0),
};

impl World {
    /// The next piece of a stream is about to be sent to one who has a document: another history of that comes first.
    pub(crate) fn fork_before(&mut self, replica: usize, key: &Line, following: Following) {
        let (peer, feed, _) = key;
        let has = Position {
            epoch: following.epoch,
            generation: following.after,
        };
        let applied = self.applied(*peer, feed).map(|commit| commit.position());
        if !self.forked || applied != Some(has) || has.epoch != self.tables.platform.epoch {
            return;
        }
        if let Some(lines) = self.other_history(feed, has) {
            self.forked = false;
            self.note(Note::Chaos(format!(
                "{peer:?} gets another {has} of {feed}"
            )));
            self.send_lines(replica, key, following, lines);
        }
    }

    /// A whole feed, each item of which means what it did and is written otherwise.
    fn other_history(&mut self, feed: &FeedName, position: Position) -> Option<String> {
        let mut changes: Changes = self.tables.changes(feed, EVERYTHING);
        let mut document = Document::default();
        for (id, item) in &mut changes.items {
            let fields = item.json().strip_suffix('}')?;
            *item = Rendered::from_json(&format!("{fields},\"history\":\"another\"}}")).ok()?;
            document.put(id, item.clone());
        }
        changes.head.position = position;
        changes.head.digest = document.digest();
        let lines = stream::lines(&self.signer, feed, changes, Vec::new()).ok()?;
        (!document.is_empty()).then(|| lines.concat())
    }
}
