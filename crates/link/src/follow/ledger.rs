//! The last good state of one feed: received bytes go in, and what is verified is stored, then shown.
//! No network here; all of it may block on the disk.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use domain::{generation::Position, ring::Ring};
use protocol::{
    feed::{
        Commit, FeedName, SecretFrame, SecretRef,
        lines::Lines,
        reader::{ChangeSet, Limits, Outcome, Reader},
        signature::FeedKeys,
    },
    item::Item,
};
use tokio::sync::watch;

use super::{
    Error, Status,
    state::{Items, Secrets, Standing, State},
    view::View,
};
use crate::{
    brake::{self, KeptItems, Why},
    identity::DenyList,
    node_key::NodeKey,
    snapshot::{Damage, Record, Storage, Store, Stored},
    writing::Turn,
};

/// What a piece of the stream led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// An idle frame came, or a change that is stored: the connection is good.
    pub alive: bool,
    /// A secret is missing and a full document may bring it.
    pub wants_full: bool,
}

/// The last good state of one feed.
#[derive(Debug)]
pub struct Ledger<T> {
    reader: Reader,
    /// As of the last stored commit; what the reader goes back to when a commit is not stored.
    stored_reader: Reader,
    lines: Lines,
    kept: KeptItems,
    refused: BTreeSet<String>,
    /// Secrets that may lie on the disk, once that was looked at.
    stored_secrets: Option<BTreeSet<SecretRef>>,
    missing_secrets: BTreeSet<SecretRef>,
    store: Box<dyn Storage>,
    state: watch::Sender<Arc<State<T>>>,
    status: Arc<watch::Sender<Status>>,
    denied: DenyList,
    feed: FeedName,
    times_lent: u64,
}

impl<T: Item> Ledger<T> {
    /// Loads the last good state from disk and shows it.
    ///
    /// # Errors
    /// When the folder can't be used.
    pub fn load(
        feed: FeedName,
        state_dir: &Path,
        node_key: NodeKey,
        keys: FeedKeys,
        status: Arc<watch::Sender<Status>>,
        denied: DenyList,
    ) -> Result<Self, Error> {
        let (store, stored, damage) = Store::open(state_dir, &feed, node_key)?;
        if let Some(damage) = &damage {
            report_damage(&feed, damage, &status);
        }
        let store = Box::new(store);
        Ok(Self::resume(feed, store, stored, keys, status, denied))
    }

    /// Goes on from a stored state, and shows it.
    #[must_use]
    pub fn resume(
        feed: FeedName,
        store: Box<dyn Storage>,
        stored: Stored,
        keys: FeedKeys,
        status: Arc<watch::Sender<Status>>,
        denied: DenyList,
    ) -> Self {
        let limits = Limits::of(&feed);
        let name = feed.clone();
        let reader = resume(feed, keys, limits, &stored);
        let mut ledger = Self {
            stored_reader: reader.clone(),
            reader,
            lines: Lines::new(limits.line_bytes),
            kept: stored.kept,
            refused: BTreeSet::new(),
            stored_secrets: None,
            missing_secrets: BTreeSet::new(),
            store,
            state: watch::Sender::default(),
            status,
            denied,
            feed: name,
            times_lent: 0,
        };
        ledger.show_loaded();
        ledger
    }

    /// What consumers watch.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State<T>>> {
        self.state.subscribe()
    }

    /// The newest commit of the document.
    #[must_use]
    pub fn applied(&self) -> Option<&Commit> {
        self.reader.applied()
    }

    /// What to ask for: changes after this position.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.reader.position()
    }

    /// Goes over to another ring's routes.
    pub fn follow(&mut self, ring: Ring) {
        self.reader.follow(ring);
        self.stored_reader.follow(ring);
    }

    /// Whether everything should be sent again.
    #[must_use]
    pub fn wants_full(&self) -> bool {
        !self.missing_secrets.is_empty()
    }

    /// It may write. When another process may have written since it could do so last, its last good state replaces what
    /// is on the disk.
    ///
    /// # Errors
    /// When that can't be stored; it is tried again at the next turn.
    pub fn begin(&mut self, turn: &Turn) -> Result<(), Error> {
        if self.times_lent == turn.times_lent() {
            return Ok(());
        }
        self.store.distrust();
        self.stored_secrets = None;
        self.store_again()?;
        self.times_lent = turn.times_lent();
        Ok(())
    }

    /// A new connection begins: nothing of the old one counts.
    pub fn connected(&mut self, keys: FeedKeys) {
        self.reader.disconnected();
        self.reader.set_keys(keys);
        self.lines = Lines::new(self.reader.limits().line_bytes);
    }

    /// Takes a piece of the stream; what becomes whole by it is verified, stored and shown.
    ///
    /// # Errors
    /// When it is refused or can't be stored; the last good state stays.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Received, Error> {
        self.lines.push(bytes);
        let mut received = Received::default();
        while let Some(line) = self.lines.next_line()? {
            match self.reader.read_line(line)? {
                // It may still be refused, again and again.
                Outcome::Pending => continue,
                Outcome::Idle => {}
                Outcome::Commit(set) => {
                    let is_full = set.full;
                    self.apply(*set)?;
                    received.wants_full = self.wants_full() && !is_full;
                }
            }
            received.alive = true;
        }
        if received.alive {
            self.note_heard();
        }
        Ok(received)
    }

    /// After what was heard is shown.
    fn note_heard(&self) {
        self.status
            .send_if_modified(|status| !std::mem::replace(&mut status.heard, true));
    }

    /// However it ends, also by a panic, what is asked for next follows what is stored.
    fn apply(&mut self, set: ChangeSet) -> Result<(), Error> {
        let advanced = std::mem::replace(&mut self.reader, self.stored_reader.clone());
        self.store_and_show(set, advanced)
    }

    fn store_and_show(&mut self, set: ChangeSet, advanced: Reader) -> Result<(), Error> {
        let (before, after) = (self.stored_reader.document(), advanced.document());
        let mut view = View {
            before,
            before_kept: &self.kept,
            after,
            kept: brake::plan_kept(before, &self.kept, &set, after),
            refused: self.refused.clone(),
            items: self.state.borrow().items.clone(),
        };
        view.change(&set);
        let (kept, refused, items) = (view.kept, view.refused, view.items);
        let let_go = brake::let_go(before, &self.kept, &set);

        let arrived = wanted(set.secrets, &items);
        let (secrets, missing) = self.secrets_for(&items, &arrived);
        if !arrived.is_empty() {
            // Should storing fail half-way, the next change set looks what lies there.
            self.stored_secrets = None;
            self.store.put_secrets(&arrived)?;
        }
        let stored = Stored::new(set.commit.clone(), after.clone(), kept.clone());
        let deletes = set.deletes.into_iter().map(|(id, _)| id).collect();
        let kept_change = (kept != self.kept).then(|| kept.clone());
        let record = Record::new(set.commit, set.full, set.puts, deletes, kept_change);
        self.store.save(record, &stored)?;
        failpoint::reach("feed-stored");

        (self.stored_reader, self.reader) = (advanced.clone(), advanced);
        (self.kept, self.refused, self.missing_secrets) = (kept, refused, missing);
        self.show(items, secrets, let_go);
        Ok(())
    }

    /// Lets go of what the brake holds since `position` or before.
    ///
    /// # Errors
    /// When that can't be stored; then it is held on.
    pub fn release(&mut self, position: Position) -> Result<(), Error> {
        let kept = brake::plan_release(&self.kept, position);
        let Some(commit) = self.reader.applied().cloned().filter(|_| kept != self.kept) else {
            return Ok(());
        };
        let mut items = self.state.borrow().items.clone();
        items.retain(|id, entry| entry.standing == Standing::Current || kept.contains_key(&**id));
        let (secrets, missing) = self.secrets_for(&items, &[]);
        let document = self.reader.document().clone();
        let stored = Stored::new(commit.clone(), document, kept.clone());
        let record = Record::new(commit, false, vec![], vec![], Some(kept.clone()));
        self.store.save(record, &stored)?;
        let let_go = self.kept.len() - kept.len();
        tracing::warn!(let_go, %position, "an operator's override lets go of held items");
        (self.kept, self.missing_secrets) = (kept, missing);
        self.show(items, secrets, BTreeSet::new());
        Ok(())
    }

    fn store_again(&mut self) -> Result<(), Error> {
        let Some(commit) = self.stored_reader.applied().cloned() else {
            return Ok(());
        };
        self.store
            .put_secrets(&self.state.borrow().secrets.frames())?;
        let document = self.stored_reader.document().clone();
        let stored = Stored::new(commit.clone(), document, self.kept.clone());
        let nothing_new = Record::new(commit, false, vec![], vec![], None);
        Ok(self.store.save(nothing_new, &stored)?)
    }

    fn show_loaded(&mut self) {
        let document = self.reader.document().clone();
        let kept = std::mem::take(&mut self.kept);
        let mut view = View {
            before: &document,
            before_kept: &kept,
            after: &document,
            kept: kept.clone(),
            refused: BTreeSet::new(),
            items: Items::new(),
        };
        view.build();
        let (items, refused) = (view.items, view.refused);
        (self.kept, self.refused) = (view.kept, refused);
        let (secrets, missing) = self.load_secrets(&items);
        self.missing_secrets = missing;
        self.show(items, secrets, BTreeSet::new());
    }

    /// Shows a state that is on disk, and erases the secrets that it no longer needs.
    fn show(&mut self, items: Items<T>, secrets: Secrets, let_go: BTreeSet<String>) {
        let commit = self.reader.applied().cloned();
        let denied = items.values().filter_map(|entry| entry.item.denied());
        self.denied.replace(&self.feed, denied.collect());
        let wanted: BTreeSet<SecretRef> = references(&items).cloned().collect();
        self.state.send_replace(Arc::new(State {
            commit: commit.clone(),
            items,
            secrets,
            let_go,
        }));
        self.erase_secrets_but(wanted);
        self.status.send_modify(|status| {
            status.commit = commit;
            status.held = brake::held(&self.kept);
            status.orphaned = brake::count(&self.kept, Why::Orphaned);
            status.refused = self.refused.len();
            status.missing_secrets = self.missing_secrets.len();
        });
        self.alarm();
    }

    fn erase_secrets_but(&mut self, wanted: BTreeSet<SecretRef>) {
        let is_known = |stored: &BTreeSet<SecretRef>| stored.is_subset(&wanted);
        if !self.stored_secrets.as_ref().is_some_and(is_known)
            && let Err(error) = self.store.retain_secrets(&mut wanted.iter())
        {
            tracing::error!(%error, "secrets that are no longer needed could not be erased");
            self.stored_secrets = None;
            return;
        }
        self.stored_secrets = Some(wanted);
    }

    fn alarm(&self) {
        let feed = &self.feed;
        let held = brake::held(&self.kept);
        if held > 0 {
            tracing::error!(%feed, held, "the brake holds drops without a cause; look why they are gone, then override");
        }
        if let Some(example) = self.refused.first() {
            let refused = self.refused.len();
            tracing::error!(%feed, refused, example, "items can't be used by this version; their last good versions stay");
        }
    }

    /// The values of all secrets that the items refer to, and the references without a value.
    fn secrets_for(
        &self,
        items: &Items<T>,
        arrived: &[SecretFrame],
    ) -> (Secrets, BTreeSet<SecretRef>) {
        let wanted: BTreeSet<&SecretRef> = references(items).collect();
        let mut secrets = self.state.borrow().secrets.clone();
        secrets.retain(|secret| wanted.contains(secret));
        arrived
            .iter()
            .cloned()
            .for_each(|secret| secrets.put(secret));
        let missing = wanted
            .into_iter()
            .filter(|secret| secrets.get(secret).is_none());
        let missing = missing.cloned().collect();
        (secrets, missing)
    }

    fn load_secrets(&self, items: &Items<T>) -> (Secrets, BTreeSet<SecretRef>) {
        let mut secrets = Secrets::default();
        let mut missing = BTreeSet::new();
        for secret in references(items) {
            match self.store.secret(secret) {
                Ok(Some(value)) => secrets.insert(secret.clone(), value),
                Ok(None) => {
                    missing.insert(secret.clone());
                }
                Err(error) => {
                    tracing::error!(%error, "a stored secret can't be opened; it is asked for again");
                    missing.insert(secret.clone());
                }
            }
        }
        (secrets, missing)
    }
}

fn report_damage(feed: &FeedName, damage: &Damage, status: &watch::Sender<Status>) {
    tracing::error!(%feed, %damage, "a part of the feed's snapshot is lost");
    status.send_modify(|status| status.damaged = true);
}

/// In the ring whose document was stored.
fn resume(feed: FeedName, keys: FeedKeys, limits: Limits, stored: &Stored) -> Reader {
    let fresh = Reader::new(feed.clone(), keys.clone(), limits);
    let Some(commit) = stored.commit.clone() else {
        return fresh;
    };
    let feed = feed.with_ring(commit.feed.ring().unwrap_or_default());
    Reader::resume(feed.clone(), keys, limits, stored.document.clone(), commit).unwrap_or_else(
        |error| {
            tracing::error!(%feed, %error, "the feed's snapshot is not what its commit says; starting without it");
            fresh
        },
    )
}

fn references<T: Item>(items: &Items<T>) -> impl Iterator<Item = &SecretRef> {
    items.values().flat_map(|entry| entry.item.secrets())
}

/// Of what has arrived, what the items refer to.
fn wanted<T: Item>(arrived: Vec<SecretFrame>, items: &Items<T>) -> Vec<SecretFrame> {
    if arrived.is_empty() {
        return arrived;
    }
    let references: BTreeSet<&SecretRef> = references(items).collect();
    let is_wanted = |frame: &SecretFrame| references.contains(&frame.reference());
    arrived.into_iter().filter(is_wanted).collect()
}

#[cfg(test)]
mod tests;
