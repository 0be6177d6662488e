//! What a consumer sees of a feed: the last good items with their secrets, as one immutable value.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::feed::{
    Commit, SecretFrame, SecretRef,
    digest::{Rendered, Sha},
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::brake::Why;

/// How an item stands to the newest document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In it, in this version.
    Current,
    /// In it, but this is the last version that could be read.
    Stale,
    /// Dropped from it, but held by the brake.
    Held,
    /// Missing in the first document of a new epoch.
    Orphaned,
}

impl From<Why> for Standing {
    fn from(why: Why) -> Self {
        match why {
            Why::Stale => Self::Stale,
            Why::Held => Self::Held,
            Why::Orphaned => Self::Orphaned,
        }
    }
}

/// An item and how it stands.
#[derive(Debug)]
pub struct Entry<T> {
    /// The item.
    pub item: T,
    /// How it stands to the newest document.
    pub standing: Standing,
    pub(super) sha256: Sha,
}

/// Items by id.
pub type Items<T> = BTreeMap<Arc<str>, Arc<Entry<T>>>;

/// The last good state of a feed.
#[derive(Debug)]
pub struct State<T> {
    /// The newest commit; none before the first.
    pub commit: Option<Commit>,
    /// The items, with what is kept beside the document.
    pub items: Items<T>,
    /// What the items refer to.
    pub secrets: Secrets,
    /// What the newest change drops with a cause although there was no item of it. Of that change alone, and not on
    /// the disk: whoever has missed it is told again.
    pub let_go: BTreeSet<String>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            commit: None,
            items: Items::new(),
            secrets: Secrets::default(),
            let_go: BTreeSet::new(),
        }
    }
}

impl<T> State<T> {
    /// A state of current items, as tests of consumers need it.
    pub fn new(
        items: impl IntoIterator<Item = (String, T)>,
        secrets: impl IntoIterator<Item = SecretFrame>,
    ) -> Self {
        let entry = |(id, item): (String, T)| {
            let entry = Entry {
                item,
                standing: Standing::Current,
                sha256: Sha::default(),
            };
            (Arc::from(id), Arc::new(entry))
        };
        let mut known = Secrets::default();
        secrets.into_iter().for_each(|secret| known.put(secret));
        Self {
            commit: None,
            items: items.into_iter().map(entry).collect(),
            secrets: known,
            let_go: BTreeSet::new(),
        }
    }
}

impl<T: Serialize> Entry<T> {
    /// Its bytes as they were received; none when this build does not know all that is in them.
    #[must_use]
    pub fn rendered(&self) -> Option<Rendered> {
        let rendered = Rendered::of(&self.item).ok()?;
        (*rendered.sha256() == self.sha256).then_some(rendered)
    }
}

impl<T: serde::de::DeserializeOwned> Entry<T> {
    pub(super) fn read(rendered: &Rendered, standing: Standing) -> Result<Self, serde_json::Error> {
        Ok(Self {
            item: serde_json::from_str(rendered.json())?,
            standing,
            sha256: *rendered.sha256(),
        })
    }
}

/// Secret values, wiped from memory when the last state that has them is gone.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<SecretRef, Arc<Zeroizing<String>>>);

impl Secrets {
    /// A value, if it has arrived.
    #[must_use]
    pub fn get(&self, secret: &SecretRef) -> Option<&str> {
        self.0.get(secret).map(|value| value.as_str())
    }

    /// All of them.
    pub(super) fn frames(&self) -> Vec<SecretFrame> {
        let frame = |(reference, value): (&SecretRef, &Arc<Zeroizing<String>>)| SecretFrame {
            key: reference.key.clone(),
            version: reference.version,
            value: value.as_str().to_owned(),
        };
        self.0.iter().map(frame).collect()
    }

    pub(super) fn put(&mut self, secret: SecretFrame) {
        self.insert(secret.reference(), Zeroizing::new(secret.value));
    }

    pub(super) fn insert(&mut self, reference: SecretRef, value: Zeroizing<String>) {
        self.0.insert(reference, Arc::new(value));
    }

    pub(super) fn retain(&mut self, wanted: impl Fn(&SecretRef) -> bool) {
        self.0.retain(|secret, _| wanted(secret));
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
