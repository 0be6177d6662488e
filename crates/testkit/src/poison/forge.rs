//! The sending end, with the platform's own key: right change sets, and wrong ones of each kind.

use domain::{
    generation::{Epoch, Generation, Position},
    ring::Ring,
};
use protocol::feed::{
    Commit, DropCause, FeedName,
    digest::{Document, Rendered},
    signature::Signer,
    writer,
};

/// Items by id.
pub type Items = Vec<(String, serde_json::Value)>;

/// One feed's document, where it stands, and who signs it.
#[derive(Debug)]
pub struct Forge {
    signer: Signer,
    forger: Signer,
    /// Whose it is.
    pub feed: FeedName,
    /// As published.
    pub document: Document,
    /// Where it stands.
    pub position: Position,
}

/// A change set before it is written.
#[derive(Debug, Clone)]
pub struct Set {
    /// Where it leads to.
    pub position: Position,
    /// It is the whole document.
    pub full: bool,
    /// What is new or another one.
    pub puts: Vec<(String, Rendered)>,
    /// What goes, and why.
    pub deletes: Vec<(String, Option<DropCause>)>,
    /// What it leads to.
    pub document: Document,
}

impl Forge {
    /// Empty, signed by a key of its own.
    ///
    /// # Panics
    /// When the machine has no randomness for keys.
    #[must_use]
    pub fn new(feed: FeedName) -> Self {
        let key = Signer::generate_pkcs8().expect("a signing key can be made");
        Self::signing(feed, &key)
    }

    /// Empty, signed by this key (PKCS#8).
    ///
    /// # Panics
    /// When the key is none.
    #[must_use]
    pub fn signing(feed: FeedName, key: &[u8]) -> Self {
        let signer = |key: &[u8]| Signer::from_pkcs8(key).expect("an Ed25519 key");
        let other = Signer::generate_pkcs8().expect("a signing key can be made");
        Self {
            signer: signer(key),
            forger: signer(&other),
            feed,
            document: Document::default(),
            position: Position {
                epoch: Epoch(1),
                generation: Generation(1),
            },
        }
    }

    /// Of the key that nodes trust.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.signer.public_key()
    }

    /// Of the key that nobody shall trust.
    #[must_use]
    pub fn forgers_key(&self) -> String {
        self.forger.public_key()
    }

    /// The next generation with these items as they are, or gone.
    #[must_use]
    pub fn difference(&self, puts: Items, deletes: &[String]) -> Set {
        self.rendered_difference(rendered(puts), deletes)
    }

    /// Likewise, of items of which there are too many to have them as values all at once.
    #[must_use]
    pub fn rendered_difference(&self, puts: Vec<(String, Rendered)>, deletes: &[String]) -> Set {
        let mut document = self.document.clone();
        for (id, item) in &puts {
            document.put(id, item.clone());
        }
        for id in deletes {
            document.delete(id);
        }
        Set {
            position: self.next(),
            full: false,
            puts,
            deletes: deletes.iter().map(|id| (id.clone(), None)).collect(),
            document,
        }
    }

    /// The next generation is exactly these items; what goes for them goes with a cause, or without.
    #[must_use]
    pub fn whole(&self, items: Items, cause: Option<DropCause>) -> Set {
        let mut document = Document::default();
        let puts = rendered(items);
        for (id, item) in &puts {
            document.put(id, item.clone());
        }
        let gone = self.document.iter().map(|(id, _)| id.to_owned());
        let gone = gone.filter(|id| cause.is_some() && document.get(id).is_none());
        Set {
            position: self.next(),
            full: true,
            deletes: gone.map(|id| (id, cause)).collect(),
            puts,
            document,
        }
    }

    fn next(&self) -> Position {
        Position {
            generation: Generation(self.position.generation.0 + 1),
            ..self.position
        }
    }

    /// From now on this is where the feed stands.
    pub fn publish(&mut self, set: &Set) {
        self.document = set.document.clone();
        self.position = set.position;
    }

    /// As it is signed.
    #[must_use]
    pub fn commit(&self, set: &Set) -> Commit {
        let count = u64::try_from(set.document.len()).unwrap_or(u64::MAX);
        let digest = set.document.digest();
        self.signer
            .commit(self.feed.clone(), set.position, digest, count)
    }

    /// A right change set.
    #[must_use]
    pub fn lines(&self, set: &Set) -> String {
        lines(set, self.commit(set))
    }

    /// With the right digest and the signature of a key that nobody trusts.
    #[must_use]
    pub fn forged(&self, set: &Set) -> String {
        let right = self.commit(set);
        let forged = self
            .forger
            .commit(right.feed, set.position, right.digest, right.count);
        lines(set, forged)
    }

    /// Signed as another feed's.
    ///
    /// # Panics
    /// Never: the other's name is one.
    #[must_use]
    pub fn of_another_feed(&self, set: &Set) -> String {
        let region = "elsewhere".parse().expect("a name");
        let other = FeedName::RegionRoutes(region, Ring::All);
        let commit = self.commit(set);
        let position = set.position;
        lines(
            set,
            self.signer
                .commit(other, position, commit.digest, commit.count),
        )
    }

    /// Signed with a digest, or a count, that the frames don't lead to.
    #[must_use]
    pub fn inconsistent(&self, set: &Set, digest: bool) -> String {
        let mut commit = self.commit(set);
        if digest {
            commit.digest = Document::default().digest();
        } else {
            commit.count += 1;
        }
        let (feed, position) = (self.feed.clone(), set.position);
        lines(
            set,
            self.signer
                .commit(feed, position, commit.digest, commit.count),
        )
    }
}

fn rendered(items: Items) -> Vec<(String, Rendered)> {
    items
        .into_iter()
        .map(|(id, item)| (id, Rendered::of(&item).expect("an item is JSON")))
        .collect()
}

fn lines(set: &Set, commit: Commit) -> String {
    let puts = set.puts.iter().map(|(id, item)| writer::put(id, item));
    let deletes = set.deletes.iter();
    let deletes = deletes.map(|(id, cause)| writer::delete(id, *cause));
    [writer::begin(set.position, set.full)]
        .into_iter()
        .chain(puts)
        .chain(deletes)
        .chain([writer::commit(commit)])
        .collect::<Result<_, _>>()
        .expect("frames are JSON")
}
