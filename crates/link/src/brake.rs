//! What a node keeps although its feed no longer has it (docs/PROTOCOL.md): a mistake far
//! away must not empty it. Additions and changes are never held; there is no timer, only a cause, a
//! later put, or an operator lets go.

use std::collections::{BTreeMap, BTreeSet};

use domain::generation::Position;
use protocol::feed::{
    digest::{Document, Rendered},
    reader::ChangeSet,
};
use serde::{Deserialize, Serialize};

/// So many drops without a cause are followed; more are held, all of them.
pub const FREE_DROPS: usize = 3;

/// Why an item is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The newest version can't be read by this build: the last good one stays.
    Stale,
    /// Dropped without a cause, among too many.
    Held,
    /// Not in the first document of a new epoch.
    Orphaned,
}

/// An item that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// As last received.
    pub item: Rendered,
    /// Why it is kept.
    pub why: Why,
    /// The document from which on.
    pub since: Position,
}

/// All that is kept, by item id.
pub type KeptItems = BTreeMap<String, Kept>;

/// What is kept after a change set that leads from `before` to `after`.
#[must_use]
pub fn plan_kept(
    before: &Document,
    kept: &KeptItems,
    set: &ChangeSet,
    after: &Document,
) -> KeptItems {
    let mut next = kept.clone();
    for (id, _) in &set.puts {
        next.remove(id);
    }
    let since = set.commit.position();
    let keep = |id: &str, why| {
        let item = kept.get(id).map(|kept| &kept.item).or(before.get(id))?;
        let item = item.clone();
        Some((id.to_owned(), Kept { item, why, since }))
    };
    let dropped = drops(before, set, after);
    if set.begins_epoch() {
        next.extend(dropped.iter().filter_map(|id| keep(id, Why::Orphaned)));
        return next;
    }
    let explained: BTreeSet<&str> = explained(set).collect();
    next.retain(|id, _| !explained.contains(id.as_str()));
    let unexplained: Vec<&str> = dropped
        .into_iter()
        .filter(|id| !explained.contains(id))
        .collect();
    if unexplained.len() + held(&next) > FREE_DROPS {
        next.extend(unexplained.iter().filter_map(|id| keep(id, Why::Held)));
    } else {
        next.retain(|id, _| !unexplained.contains(&id.as_str()));
    }
    next
}

/// What a change set drops with a cause although this node has no item of it: what a node runs on after it has lost its
/// disk has no other name to be let go by. The first document of a new epoch ends nothing.
#[must_use]
pub fn let_go(before: &Document, kept: &KeptItems, set: &ChangeSet) -> BTreeSet<String> {
    if set.begins_epoch() {
        return BTreeSet::new();
    }
    let puts: BTreeSet<&str> = set.puts.iter().map(|(id, _)| id.as_str()).collect();
    explained(set)
        .filter(|id| before.get(id).is_none() && !kept.contains_key(*id) && !puts.contains(id))
        .map(ToOwned::to_owned)
        .collect()
}

/// An operator lets go of what is held or orphaned since `position` or before.
#[must_use]
pub fn plan_release(kept: &KeptItems, position: Position) -> KeptItems {
    let mut next = kept.clone();
    next.retain(|_, kept| kept.why == Why::Stale || kept.since > position);
    next
}

fn drops<'a>(before: &'a Document, set: &'a ChangeSet, after: &Document) -> Vec<&'a str> {
    let gone = |id: &&str| before.get(id).is_some() && after.get(id).is_none();
    if set.full {
        before.iter().map(|(id, _)| id).filter(gone).collect()
    } else {
        let deleted = set.deletes.iter().map(|(id, _)| id.as_str());
        deleted.filter(gone).collect()
    }
}

fn explained(set: &ChangeSet) -> impl Iterator<Item = &str> {
    set.deletes
        .iter()
        .filter(|(_, cause)| cause.is_some())
        .map(|(id, _)| id.as_str())
}

/// How many items the brake holds.
#[must_use]
pub fn held(kept: &KeptItems) -> usize {
    count(kept, Why::Held)
}

/// How many items are kept for this reason.
#[must_use]
pub fn count(kept: &KeptItems, why: Why) -> usize {
    kept.values().filter(|kept| kept.why == why).count()
}

#[cfg(test)]
mod tests {
    use domain::generation::{Epoch, Generation};
    use domain::ring::Ring;
    use proptest::prelude::*;
    use protocol::feed::{Commit, DropCause, FeedName};

    use super::*;

    fn commit(epoch: i64, generation: i64) -> Commit {
        Commit {
            feed: FeedName::GlobalRoutes(Ring::All),
            epoch: Epoch(epoch),
            generation: Generation(generation),
            digest: String::new(),
            count: 0,
            signature: String::new(),
        }
    }

    fn document(ids: impl IntoIterator<Item = usize>) -> Document {
        let mut document = Document::default();
        for id in ids {
            document.put(&format!("i{id}"), Rendered::of(&id).unwrap());
        }
        document
    }

    /// A full set at `1/2` after `1/1` that leads to `after`.
    fn full(after: &Document, deletes: Vec<(String, Option<DropCause>)>) -> ChangeSet {
        ChangeSet {
            full: true,
            puts: after
                .iter()
                .map(|(id, item)| (id.to_owned(), item.clone()))
                .collect(),
            deletes,
            secrets: Vec::new(),
            previous: Some(commit(1, 1)),
            commit: commit(1, 2),
        }
    }

    fn caused(id: usize) -> (String, Option<DropCause>) {
        (format!("i{id}"), Some(DropCause::Deletion))
    }

    #[test]
    fn three_drops_without_a_cause_are_followed_and_four_are_held() {
        let before = document(0..10);
        for (left, expected) in [(7, 0), (6, 4), (0, 10)] {
            let after = document(0..left);
            let kept = plan_kept(&before, &KeptItems::new(), &full(&after, vec![]), &after);
            assert_eq!(held(&kept), expected, "{left} left");
        }
    }

    #[test]
    fn drops_with_a_cause_are_followed_however_many() {
        let (before, after) = (document(0..10), document(0..2));
        let causes = (2..10).map(caused).collect();
        let kept = plan_kept(&before, &KeptItems::new(), &full(&after, causes), &after);
        assert_eq!(kept, KeptItems::new());
    }

    #[test]
    fn what_is_held_goes_by_a_cause_a_put_or_an_operator() {
        let (before, after) = (document(0..5), document(0..1));
        let held_items = plan_kept(&before, &KeptItems::new(), &full(&after, vec![]), &after);
        assert_eq!(held(&held_items), 4);

        let mut later = full(&after, vec![caused(1)]);
        later.previous = Some(commit(1, 2));
        let kept = plan_kept(&after, &held_items, &later, &after);
        assert!(!kept.contains_key("i1") && held(&kept) == 3);

        let back = document([0, 2]);
        let kept = plan_kept(&after, &kept, &full(&back, vec![]), &back);
        assert!(!kept.contains_key("i2") && held(&kept) == 2);

        assert_eq!(held(&plan_release(&kept, commit(1, 1).position())), 2);
        assert_eq!(held(&plan_release(&kept, commit(1, 2).position())), 0);
    }

    #[test]
    fn a_new_epochs_first_document_drops_nothing_whatever_it_says() {
        let (before, after) = (document(0..3), document(0..1));
        let mut set = full(&after, vec![caused(1)]);
        set.commit = commit(2, 1);
        let kept = plan_kept(&before, &KeptItems::new(), &set, &after);
        assert_eq!(count(&kept, Why::Orphaned), 2);

        let mut later = full(&after, vec![caused(1)]);
        later.previous = Some(commit(2, 1));
        later.commit = commit(2, 2);
        let kept = plan_kept(&after, &kept, &later, &after);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["i2"]);
    }

    #[test]
    fn what_is_let_go_without_an_item_of_it_is_named_but_not_by_a_new_epochs_first_document() {
        let (before, after) = (document([0]), document([0, 4]));
        let held = plan_kept(
            &document(0..9),
            &KeptItems::new(),
            &full(&before, vec![]),
            &before,
        );
        assert!(held.contains_key("i1"));
        let dropped = vec![
            caused(0),
            caused(1),
            caused(4),
            caused(20),
            ("i21".into(), None),
        ];
        let mut set = full(&after, dropped);
        let unknown = BTreeSet::from(["i20".to_owned()]);
        assert_eq!(let_go(&before, &held, &set), unknown);

        set.previous = None;
        assert_eq!(let_go(&before, &held, &set), unknown, "its disk is new");
        set.previous = Some(commit(1, 1));
        set.commit = commit(2, 1);
        assert_eq!(let_go(&before, &held, &set), BTreeSet::new());
    }

    proptest! {
        /// Nothing without a cause is lost beyond three; nothing of the new document is shadowed.
        #[test]
        fn the_brake_holds(before in prop::collection::btree_set(0_usize..30, 0..30),
                           after in prop::collection::btree_set(0_usize..30, 0..30),
                           caused_ids in prop::collection::btree_set(0_usize..30, 0..30)) {
            let (old, new) = (document(before.iter().copied()), document(after.iter().copied()));
            let set = full(&new, caused_ids.iter().copied().map(caused).collect());
            let kept = plan_kept(&old, &KeptItems::new(), &set, &new);
            let lost = before.iter().filter(|id| {
                !after.contains(id) && !caused_ids.contains(id) && !kept.contains_key(&format!("i{id}"))
            });
            prop_assert!(lost.count() <= FREE_DROPS);
            prop_assert!(kept.keys().all(|id| new.get(id).is_none()));
        }
    }
}
