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
pub struct Forge {
    signer: Signer,
    forger: Signer,
    pub feed: FeedName,
    pub document: Document,
    pub position: Position,
}

/// A change set before it is written.
#[derive(Clone)]
pub struct Set {
    pub position: Position,
    pub full: bool,
    pub puts: Vec<(String, Rendered)>,
    pub deletes: Vec<(String, Option<DropCause>)>,
    /// What it leads to.
    pub document: Document,
}

impl Forge {
    pub fn new(feed: FeedName) -> Self {
        let signer = || Signer::from_pkcs8(&Signer::generate_pkcs8().unwrap()).unwrap();
        Self {
            signer: signer(),
            forger: signer(),
            feed,
            document: Document::default(),
            position: Position {
                epoch: Epoch(1),
                generation: Generation(1),
            },
        }
    }

    pub fn public_key(&self) -> String {
        self.signer.public_key()
    }

    /// Of the key that nobody shall trust.
    pub fn forgers_key(&self) -> String {
        self.forger.public_key()
    }

    /// The next generation with these items as they are, or gone.
    pub fn difference(&self, puts: Items, deletes: &[String]) -> Set {
        let mut document = self.document.clone();
        let puts = rendered(puts);
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

    pub fn commit(&self, set: &Set) -> Commit {
        let count = u64::try_from(set.document.len()).unwrap();
        let digest = set.document.digest();
        self.signer
            .commit(self.feed.clone(), set.position, digest, count)
    }

    /// A right change set.
    pub fn lines(&self, set: &Set) -> String {
        lines(set, self.commit(set))
    }

    /// With the right digest and the signature of a key that nobody trusts.
    pub fn forged(&self, set: &Set) -> String {
        let right = self.commit(set);
        let forged = self
            .forger
            .commit(right.feed, set.position, right.digest, right.count);
        lines(set, forged)
    }

    /// Signed as another feed's.
    pub fn of_another_feed(&self, set: &Set) -> String {
        let other = FeedName::RegionRoutes("elsewhere".parse().unwrap(), Ring::All);
        let commit = self.commit(set);
        let position = set.position;
        lines(
            set,
            self.signer
                .commit(other, position, commit.digest, commit.count),
        )
    }

    /// Signed with a digest, or a count, that the frames don't lead to.
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
        .map(|(id, item)| (id, Rendered::of(&item).unwrap()))
        .collect()
}

fn lines(set: &Set, commit: Commit) -> String {
    let mut text = writer::begin(set.position, set.full).unwrap();
    for (id, item) in &set.puts {
        text.push_str(&writer::put(id, item).unwrap());
    }
    for (id, cause) in &set.deletes {
        text.push_str(&writer::delete(id, *cause).unwrap());
    }
    text.push_str(&writer::commit(commit).unwrap());
    text
}
