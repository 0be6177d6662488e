//! The document of a feed and its digest: SHA-256 over 256 bucket digests, so that one changed item
//! costs one bucket and not the whole document. Control plane and nodes must agree on every byte here.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde::{Serialize, de::IgnoredAny};
use sha2::{Digest as _, Sha256};

/// A SHA-256 value.
pub type Sha = [u8; 32];

/// How many buckets a document has.
pub const BUCKETS: usize = 256;

/// A text that can't be an item of a feed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("the item is not JSON: {0}; render it with Rendered::of")]
    NotJson(#[from] serde_json::Error),
    /// NDJSON ends a frame at a line's end.
    #[error("the item has a line break between its fields; render it with Rendered::of")]
    LineBreak,
}

/// An item as rendered once, in the transaction that bumped the generation: its bytes and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    json: Arc<str>,
    sha256: Sha,
}

impl Rendered {
    /// Renders an item. Field order is the type's, maps are sorted: the bytes are canonical.
    ///
    /// # Errors
    /// When the value can't be JSON (a map with keys that are no texts).
    pub fn of<T: Serialize>(item: &T) -> Result<Self, Error> {
        Ok(Self::hashed(serde_json::to_string(item)?))
    }

    /// Takes bytes rendered earlier, as stored or received.
    ///
    /// # Errors
    /// When they are no JSON of one line.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        serde_json::from_str::<IgnoredAny>(json)?;
        if json.contains(['\n', '\r']) {
            return Err(Error::LineBreak);
        }
        Ok(Self::hashed(json.to_owned()))
    }

    fn hashed(json: String) -> Self {
        let sha256 = sha256(json.as_bytes());
        Self {
            json: json.into(),
            sha256,
        }
    }

    /// The bytes that travel and that are hashed.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// SHA-256 of [`Self::json`].
    #[must_use]
    pub const fn sha256(&self) -> &Sha {
        &self.sha256
    }
}

/// The bucket of an item: the first byte of SHA-256 of its id.
#[must_use]
pub fn bucket_of(id: &str) -> u8 {
    let [first, ..] = sha256(id.as_bytes());
    first
}

/// The digest of one bucket: for each item in the order of ids' bytes, the id's length (big-endian
/// u32), the id, and SHA-256 of the item. An empty bucket has the digest of nothing.
pub fn bucket_digest<'a>(items: impl IntoIterator<Item = (&'a str, &'a Sha)>) -> Sha {
    let mut hasher = Sha256::new();
    for (id, sha256) in items {
        let length = u32::try_from(id.len()).unwrap_or(u32::MAX);
        hasher.update(length.to_be_bytes());
        hasher.update(id.as_bytes());
        hasher.update(sha256);
    }
    hasher.finalize().into()
}

/// The digest of a document from its buckets' digests in order, as in [`super::Commit::digest`].
#[must_use]
pub fn document_digest(buckets: &[Sha; BUCKETS]) -> String {
    hex::encode(sha256(buckets.as_flattened()))
}

/// All items of a feed. Cheap to clone: a change copies only the bucket it touches.
#[derive(Debug, Clone)]
pub struct Document {
    buckets: Vec<Arc<Bucket>>,
    count: usize,
    size_bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    items: BTreeMap<Arc<str>, Rendered>,
    digest: OnceLock<Sha>,
}

impl Bucket {
    fn digest(&self) -> Sha {
        *self.digest.get_or_init(|| {
            bucket_digest(self.items.iter().map(|(id, item)| (&**id, &item.sha256)))
        })
    }
}

impl Default for Document {
    fn default() -> Self {
        Self {
            buckets: vec![Arc::default(); BUCKETS],
            count: 0,
            size_bytes: 0,
        }
    }
}

impl Document {
    /// Adds or replaces an item; answers what it replaced.
    pub fn put(&mut self, id: &str, item: Rendered) -> Option<Rendered> {
        self.size_bytes += id.len() + item.json.len();
        let bucket = self.bucket_mut(id)?;
        let replaced = bucket.items.insert(id.into(), item);
        self.forget(id, replaced.as_ref());
        self.count += 1;
        replaced
    }

    /// Removes an item; answers what it removed.
    pub fn delete(&mut self, id: &str) -> Option<Rendered> {
        self.get(id)?;
        let removed = self.bucket_mut(id)?.items.remove(id);
        self.forget(id, removed.as_ref());
        removed
    }

    fn forget(&mut self, id: &str, gone: Option<&Rendered>) {
        if let Some(gone) = gone {
            self.size_bytes -= id.len() + gone.json.len();
            self.count -= 1;
        }
    }

    /// The bucket of an id, its digest no longer valid.
    fn bucket_mut(&mut self, id: &str) -> Option<&mut Bucket> {
        let bucket = self.buckets.get_mut(usize::from(bucket_of(id)))?;
        let bucket = Arc::make_mut(bucket);
        bucket.digest = OnceLock::new();
        Some(bucket)
    }

    /// An item.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Rendered> {
        let bucket = self.buckets.get(usize::from(bucket_of(id)))?;
        bucket.items.get(id)
    }

    /// All items, bucket after bucket.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rendered)> {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.items.iter().map(|(id, item)| (&**id, item)))
    }

    /// How many items there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all ids and items.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The digest of all items; only buckets changed since the last call are hashed again.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digests = [[0; 32]; BUCKETS];
        for (digest, bucket) in digests.iter_mut().zip(&self.buckets) {
            *digest = bucket.digest();
        }
        document_digest(&digests)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

fn sha256(bytes: &[u8]) -> Sha {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(text: &str) -> Rendered {
        Rendered::of(&text).unwrap()
    }

    #[test]
    fn the_digest_of_a_known_document_is_the_one_computed_independently() {
        let mut document = Document::default();
        assert_eq!(
            document.digest(),
            "0e89e7ed74c9a5944c886585d634e3c68f4dccd0a31968fe52d6df0873ccdec6"
        );
        document.put("a", item("1"));
        document.put("b", item("2"));
        assert_eq!(
            document.digest(),
            "cf6d328e8f076edba4402b15ccf08721c844dd31ce0bb71ab585f5c795bd0b46"
        );
    }

    #[test]
    fn an_item_is_one_line_of_json() {
        assert!(Rendered::from_json("{\"a\":1}").is_ok());
        assert!(matches!(Rendered::from_json("{\n}"), Err(Error::LineBreak)));
        assert!(matches!(Rendered::from_json("{"), Err(Error::NotJson(_))));
        assert!(matches!(
            Rendered::from_json("{} {}"),
            Err(Error::NotJson(_))
        ));
    }

    #[test]
    fn a_clone_is_not_touched_by_later_changes() {
        let mut document = Document::default();
        document.put("a", item("1"));
        let before = document.clone();
        document.put("a", item("2"));
        document.delete("b");
        assert_eq!(before.get("a"), Some(&item("1")));
        assert_ne!(before.digest(), document.digest());
    }

    proptest! {
        /// The digest follows from the content alone, whatever way led to it.
        #[test]
        fn history_leaves_no_trace(changes in prop::collection::vec((0_u8..40, prop::option::of(0_u8..9)), 0..200)) {
            let mut model = BTreeMap::new();
            let mut document = Document::default();
            for (id, value) in changes {
                let id = format!("item/{id}");
                match value {
                    Some(value) => { model.insert(id.clone(), value); document.put(&id, item(&value.to_string())); }
                    None => { model.remove(&id); document.delete(&id); }
                }
                let _ = document.digest();
            }
            let mut fresh = Document::default();
            for (id, value) in model.iter().rev() {
                fresh.put(id, item(&value.to_string()));
            }
            prop_assert_eq!(fresh.digest(), document.digest());
            prop_assert_eq!(fresh.len(), document.len());
            prop_assert_eq!(fresh.size_bytes(), document.size_bytes());
            prop_assert_eq!(document.len(), model.len());
            prop_assert_eq!(fresh, document);
        }
    }
}
