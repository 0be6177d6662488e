use domain::ring::Ring;
use std::fs;

use domain::generation::Position;
use proptest::prelude::*;
use protocol::feed::{digest::Rendered, signature::Signer};

use super::*;
use crate::brake::{Kept, Why};

const FEED: FeedName = FeedName::GlobalRoutes(Ring::All);

/// A folder with a store in it that is filled change by change.
struct Fixture {
    dir: tempfile::TempDir,
    signer: Signer,
    store: Store,
    state: Stored,
}

fn key(dir: &Path) -> NodeKey {
    NodeKey::ensure(&dir.join("node.key")).unwrap()
}

fn open(dir: &Path) -> (Store, Stored, Option<Damage>) {
    Store::open(dir, &FEED, key(dir)).unwrap()
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, state, damage) = open(dir.path());
        assert!(damage.is_none() && state.commit.is_none());
        let signer = Signer::from_pkcs8(&Signer::generate_pkcs8().unwrap()).unwrap();
        Self {
            dir,
            signer,
            store,
            state,
        }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("feeds/routes-global/journal")
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("feeds/routes-global/base")
    }

    fn change(&mut self, full: bool, puts: &[(&str, usize)], deletes: &[&str]) {
        self.change_with(full, puts, deletes, None);
    }

    fn change_with(
        &mut self,
        full: bool,
        puts: &[(&str, usize)],
        deletes: &[&str],
        kept: Option<KeptItems>,
    ) {
        let mut next = self.state.clone();
        let puts: Vec<_> = puts
            .iter()
            .map(|(id, value)| ((*id).to_owned(), Rendered::of(value).unwrap()))
            .collect();
        let deletes: Vec<_> = deletes.iter().map(|id| (*id).to_owned()).collect();
        if full {
            next.document = Document::default();
        }
        for id in &deletes {
            next.document.delete(id);
        }
        for (id, item) in &puts {
            next.document.put(id, item.clone());
        }
        let mut position = self.position();
        position.generation.0 += 1;
        let count = next.document.len() as u64;
        let digest = next.document.digest();
        let commit = self.signer.commit(FEED, position, digest, count);
        next.commit = Some(commit.clone());
        next.kept = kept.clone().unwrap_or(next.kept);
        let record = Record::new(commit, full, puts, deletes, kept);
        self.store.save(record, &next).unwrap();
        self.state = next;
    }

    fn position(&self) -> Position {
        let commit = self.state.commit.as_ref();
        commit.map(Commit::position).unwrap_or_default()
    }
}

fn same(found: &Stored, expected: &Stored) -> bool {
    found.commit == expected.commit
        && found.document == expected.document
        && found.kept == expected.kept
}

fn kept_item() -> KeptItems {
    let kept = Kept {
        item: Rendered::of(&9).unwrap(),
        why: Why::Held,
        since: Position::default(),
    };
    KeptItems::from([("gone".to_owned(), kept)])
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    let mut fixture = Fixture::new();
    fixture.change(true, &[("a", 1), ("b", 2)], &[]);
    fixture.change(false, &[("c", 3)], &["a"]);
    fixture.change_with(false, &[], &["b"], Some(kept_item()));
    let (_, found, damage) = open(fixture.dir.path());
    assert!(damage.is_none());
    assert!(same(&found, &fixture.state));
    assert_eq!(found.kept, kept_item());
}

/// As on a disk that has become read-only: a node begins with what is there.
#[test]
fn a_store_is_opened_without_a_write() {
    let mut fixture = Fixture::new();
    assert!(!fixture.journal().exists());
    fixture.change(true, &[("a", 1)], &[]);
    fs::remove_file(fixture.journal()).unwrap();
    let (_, state, damage) = open(fixture.dir.path());
    assert!(damage.is_none() && same(&state, &fixture.state));
    assert!(!fixture.journal().exists());
}

#[test]
fn a_long_journal_is_folded_into_the_base() {
    let mut fixture = Fixture::new();
    fixture.change(true, &[("a", 1)], &[]);
    let base = fs::metadata(fixture.base()).unwrap().len();
    let mut longest = 0;
    let ids: Vec<String> = (0..300)
        .map(|id| format!("{id}-{}", "x".repeat(8_000)))
        .collect();
    for id in &ids {
        fixture.change(false, &[(id, 1)], &[]);
        longest = longest.max(fs::metadata(fixture.journal()).unwrap().len());
    }
    assert!(longest < 2 * JOURNAL_BYTES_MIN, "{longest}");
    assert!(fs::metadata(fixture.base()).unwrap().len() > base);
    assert!(same(&open(fixture.dir.path()).1, &fixture.state));
}

#[test]
fn a_journal_older_than_its_base_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.change(true, &[("a", 1)], &[]);
    fixture.change(false, &[("b", 2)], &[]);
    let journal = fs::read(fixture.journal()).unwrap();
    fixture.change(true, &[("c", 3)], &[]);
    // As after a crash between the new base and the emptied journal.
    fs::write(fixture.journal(), journal).unwrap();
    let (mut store, found, damage) = open(fixture.dir.path());
    assert!(damage.is_none());
    assert!(same(&found, &fixture.state));
    std::mem::swap(&mut fixture.store, &mut store);
    fixture.change(false, &[("d", 4)], &[]);
    assert!(same(&open(fixture.dir.path()).1, &fixture.state));
}

#[test]
fn a_base_that_came_though_its_write_failed_hides_no_later_change() {
    let mut fixture = Fixture::new();
    fixture.change(true, &[("a", 1)], &[]);
    let mut refused = Fixture::new();
    refused.change(true, &[("a", 1)], &[]);
    refused.change(true, &[("b", 2)], &[]);

    let in_the_way = fixture.base().with_extension("new");
    fs::create_dir(&in_the_way).unwrap();
    let commit = refused.state.commit.clone().unwrap();
    let change = Record::new(commit, true, vec![], vec![], None);
    fixture.store.save(change, &refused.state).unwrap_err();
    fs::remove_dir(in_the_way).unwrap();
    // As when the folder can't be synced once the file has its name.
    fs::copy(refused.base(), fixture.base()).unwrap();

    fixture.change(false, &[("c", 3)], &[]);
    let (_, found, damage) = open(fixture.dir.path());
    assert!(damage.is_none());
    assert!(same(&found, &fixture.state));
}

#[test]
fn a_damaged_base_is_told_and_replaced_by_the_next_change() {
    let mut fixture = Fixture::new();
    fixture.change(true, &[("a", 1)], &[]);
    let mut base = fs::read(fixture.base()).unwrap();
    *base.last_mut().unwrap() ^= 1;
    fs::write(fixture.base(), base).unwrap();
    let (store, found, damage) = open(fixture.dir.path());
    assert!(damage.unwrap().to_string().contains("routes-global/base"));
    assert!(found.commit.is_none());
    fixture.store = store;
    fixture.change(true, &[("b", 1)], &[]);
    let (_, found, damage) = open(fixture.dir.path());
    assert!(damage.is_none());
    assert!(same(&found, &fixture.state));
}

#[test]
fn secrets_lie_sealed_and_go_when_nobody_needs_them() {
    let fixture = Fixture::new();
    let secret = |key: &str, version| SecretRef {
        key: key.to_owned(),
        version,
    };
    let frame = |key: &str, version| SecretFrame {
        key: key.to_owned(),
        version,
        value: format!("s3cret {key} {version}"),
    };
    let frames = [frame("a", 1), frame("a", 2), frame("b", 1)];
    fixture.store.put_secrets(&frames).unwrap();
    let (store, ..) = open(fixture.dir.path());
    assert_eq!(
        **store.secret(&secret("a", 2)).unwrap().unwrap(),
        *"s3cret a 2"
    );

    let folder = fixture.dir.path().join("feeds/routes-global/secrets");
    for file in fs::read_dir(&folder).unwrap() {
        let content = fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains("s3cret"));
    }
    let wanted = secret("a", 2);
    store.retain_secrets([&wanted].into_iter()).unwrap();
    assert!(store.secret(&secret("a", 1)).unwrap().is_none());
    assert!(store.secret(&secret("b", 1)).unwrap().is_none());
    assert!(store.secret(&wanted).unwrap().is_some());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A crash or a bad disk at any byte of the journal: some prefix of the changes is there, with its
    /// commit, and the store goes on from it.
    #[test]
    fn a_damaged_journal_gives_a_prefix(at in any::<prop::sample::Index>(), flip in prop::option::of(1_u8..)) {
        let mut fixture = Fixture::new();
        fixture.change(true, &[("a", 0)], &[]);
        let mut states = vec![fixture.state.clone()];
        for value in 1..6 {
            fixture.change(false, &[("a", value), ("b", value)], &[]);
            states.push(fixture.state.clone());
        }
        let mut journal = fs::read(fixture.journal()).unwrap();
        let at = at.index(journal.len());
        match flip {
            Some(bits) => journal[at] ^= bits,
            None => journal.truncate(at),
        }
        fs::write(fixture.journal(), &journal).unwrap();

        let (store, found, _) = open(fixture.dir.path());
        prop_assert!(states.iter().any(|state| same(&found, state)));
        fixture.store = store;
        fixture.state = found;
        fixture.change(false, &[("c", 7)], &[]);
        let (_, found, damage) = open(fixture.dir.path());
        prop_assert!(damage.is_none());
        prop_assert!(same(&found, &fixture.state));
    }
}
