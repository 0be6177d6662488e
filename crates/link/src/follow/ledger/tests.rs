use domain::{
    generation::{Epoch, Generation},
    ring::Ring,
};
use protocol::feed::{DropCause, digest::Document, signature::Signer};
use serde::{Deserialize, Serialize};
use testkit::publisher::{Change, Publisher};

use super::*;
use crate::writing::Writing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    size: u32,
    #[serde(default)]
    secret: Option<SecretRef>,
}

impl Item for Thing {
    fn secrets(&self) -> Vec<&SecretRef> {
        assert_ne!(self.size, PANICS, "a planted bug");
        self.secret.iter().collect()
    }
}

/// An item of this size is one that our own code can't bear.
const PANICS: u32 = 13;

fn thing(size: u32) -> Thing {
    Thing { size, secret: None }
}

fn thing_with_secret(version: i64) -> Thing {
    let secret = SecretRef {
        key: "variable/x".into(),
        version,
    };
    Thing {
        size: 0,
        secret: Some(secret),
    }
}

/// A publisher and the ledger that reads it; the ledger can be started again from its disk.
struct Pair {
    dir: tempfile::TempDir,
    publisher: Publisher,
    ledger: Ledger<Thing>,
    status: Arc<watch::Sender<Status>>,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::new(
            FeedName::GlobalRoutes(Ring::All),
            &Signer::generate_pkcs8().unwrap(),
        );
        let (ledger, status) = load(dir.path(), &publisher);
        Self {
            dir,
            publisher,
            ledger,
            status,
        }
    }

    /// Holds `i0`, `i1`, … from a full set.
    fn holding(count: u32) -> Self {
        let mut pair = Self::new();
        let change = (0..count).fold(Change::default(), |change, size| {
            change.put(&format!("i{size}"), &thing(size))
        });
        let _ = pair.publisher.publish(change);
        pair.receive(&pair.publisher.full(Change::default()))
            .unwrap();
        pair
    }

    fn receive(&mut self, lines: &str) -> Result<Received, Error> {
        self.ledger.receive(lines.as_bytes())
    }

    fn publish(&mut self, change: Change) -> Received {
        let lines = self.publisher.publish(change);
        self.receive(&lines).unwrap()
    }

    fn restart(&mut self) {
        (self.ledger, self.status) = load(self.dir.path(), &self.publisher);
    }

    fn state(&self) -> Arc<State<Thing>> {
        self.ledger.state.borrow().clone()
    }

    fn sizes(&self) -> Vec<u32> {
        let state = self.state();
        state.items.values().map(|entry| entry.item.size).collect()
    }

    fn standing(&self, id: &str) -> Option<Standing> {
        self.state().items.get(id).map(|entry| entry.standing)
    }

    fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

fn load(dir: &Path, publisher: &Publisher) -> (Ledger<Thing>, Arc<watch::Sender<Status>>) {
    let status = Arc::<watch::Sender<Status>>::default();
    let node_key = NodeKey::ensure(&dir.join("node.key")).unwrap();
    let keys = FeedKeys::from_base64(&[publisher.public_key()]).unwrap();
    let feed = FeedName::GlobalRoutes(Ring::All);
    let ledger = Ledger::load(
        feed,
        dir,
        node_key,
        keys,
        status.clone(),
        DenyList::default(),
    )
    .unwrap();
    (ledger, status)
}

#[test]
fn what_is_committed_is_shown_and_survives_a_restart() {
    let mut pair = Pair::holding(2);
    pair.publish(
        Change::default()
            .put("i2", &thing(2))
            .delete("i0", Some(DropCause::Plan)),
    );
    assert_eq!(pair.sizes(), [1, 2]);
    assert_eq!(pair.status().commit, Some(pair.publisher.commit()));
    pair.restart();
    assert_eq!(pair.sizes(), [1, 2]);
    assert_eq!(pair.status().commit, Some(pair.publisher.commit()));
    pair.publish(Change::default().put("i3", &thing(3)));
    assert_eq!(pair.sizes(), [1, 2, 3]);
}

#[tokio::test]
async fn what_another_process_has_written_meanwhile_is_replaced() {
    let mut pair = Pair::holding(2);
    let put = |size: u32| Change::default().put(&format!("i{size}"), &thing(size));
    pair.publish(put(2));
    let writing = Writing::default();
    pair.ledger.begin(&writing.turn().await).unwrap();

    let lent = writing.lend().await;
    let lines = pair.publisher.publish(put(3));
    let (mut other, _) = load(pair.dir.path(), &pair.publisher);
    let whole = pair.publisher.full(Change::default());
    other.receive(whole.as_bytes()).unwrap();
    drop((other, lent));

    pair.ledger.begin(&writing.turn().await).unwrap();
    pair.receive(&lines).unwrap();
    pair.publish(put(4));
    pair.restart();
    assert_eq!(pair.sizes(), [0, 1, 2, 3, 4]);
    assert!(!pair.status().damaged);
}

#[tokio::test]
async fn what_another_process_has_spoiled_is_whole_again_without_a_change() {
    let mut pair = Pair::holding(2);
    let with_secret = thing_with_secret(1);
    let reference = with_secret.secret.clone().unwrap();
    pair.publish(
        Change::default()
            .put("s", &with_secret)
            .secret("variable/x", 1, "s3cret"),
    );
    let writing = Writing::default();
    let lent = writing.lend().await;
    for part in ["base", "journal"] {
        let part = pair.dir.path().join("feeds/routes-global").join(part);
        std::fs::write(part, "spoiled").unwrap();
    }
    // It finds nothing, so that nothing needs the secret.
    let (other, status) = load(pair.dir.path(), &pair.publisher);
    assert!(status.borrow().damaged && status.borrow().commit.is_none());
    drop((other, lent));

    pair.ledger.begin(&writing.turn().await).unwrap();
    pair.restart();
    assert_eq!(pair.sizes(), [0, 1, 0]);
    assert_eq!(pair.state().secrets.get(&reference), Some("s3cret"));
    assert!(!pair.status().damaged);
}

#[test]
fn a_forged_change_set_changes_nothing_here_or_on_disk() {
    let mut pair = Pair::holding(1);
    let mut forger = Publisher::new(
        FeedName::GlobalRoutes(Ring::All),
        &Signer::generate_pkcs8().unwrap(),
    );
    forger.document = pair.publisher.document.clone();
    forger.position = pair.publisher.position;
    let lines = forger.publish(Change::default().put("i0", &thing(66)));
    assert!(matches!(pair.receive(&lines), Err(Error::Refused(_))));
    assert_eq!(pair.sizes(), [0]);
    pair.restart();
    assert_eq!(pair.sizes(), [0]);
    pair.publish(Change::default().put("i0", &thing(1)));
    assert_eq!(pair.sizes(), [1]);
}

#[test]
fn an_item_that_cant_be_read_keeps_its_last_good_version_until_a_readable_one() {
    let mut pair = Pair::holding(1);
    pair.publish(
        Change::default()
            .put("i0", &"poison")
            .put("new", &"poison")
            .put("ok", &thing(7)),
    );
    for _ in 0..2 {
        assert_eq!(pair.sizes(), [0, 7]);
        assert_eq!(pair.standing("i0"), Some(Standing::Stale));
        assert_eq!(pair.status().refused, 2);
        pair.restart();
    }
    pair.publish(Change::default().put("i0", &"poison again"));
    assert_eq!(pair.standing("i0"), Some(Standing::Stale));
    pair.publish(
        Change::default()
            .put("i0", &thing(1))
            .delete("new", Some(DropCause::Plan)),
    );
    assert_eq!(pair.standing("i0"), Some(Standing::Current));
    assert_eq!(pair.status().refused, 0);
    assert_eq!(pair.sizes(), [1, 7]);
}

#[test]
fn the_brake_holds_through_restarts_until_an_operator_lets_go() {
    let mut pair = Pair::holding(6);
    pair.publisher.document = Document::default();
    let lines = pair
        .publisher
        .publish(Change::default().put("i9", &thing(9)));
    assert!(lines.contains("\"full\":false"));
    let full = pair.publisher.full(Change::default());
    pair.receive(&full).unwrap();
    for _ in 0..2 {
        assert_eq!(pair.sizes(), [0, 1, 2, 3, 4, 5, 9]);
        assert_eq!(pair.standing("i0"), Some(Standing::Held));
        assert_eq!(pair.status().held, 6);
        assert_eq!(pair.status().commit, Some(pair.publisher.commit()));
        pair.restart();
    }
    pair.ledger.release(pair.publisher.position).unwrap();
    assert_eq!(pair.sizes(), [9]);
    pair.restart();
    assert_eq!((pair.sizes(), pair.status().held), (vec![9], 0));
}

#[test]
fn a_new_epoch_stops_nothing_and_later_causes_let_go() {
    let mut pair = Pair::holding(2);
    let epoch = Publisher::new(
        FeedName::GlobalRoutes(Ring::All),
        &Signer::generate_pkcs8().unwrap(),
    );
    pair.publisher.position = Position {
        epoch: Epoch(2),
        generation: Generation(0),
    };
    pair.publisher.document = epoch.document;
    let full = pair.publisher.full(Change::default());
    pair.receive(&full).unwrap();
    assert_eq!(pair.sizes(), [0, 1]);
    assert_eq!(pair.standing("i1"), Some(Standing::Orphaned));
    assert_eq!(pair.status().orphaned, 2);
    pair.publish(
        Change::default()
            .put("i0", &thing(5))
            .delete("i1", Some(DropCause::Deployment)),
    );
    assert_eq!((pair.sizes(), pair.status().orphaned), (vec![5], 0));
}

#[test]
fn secrets_come_with_their_items_and_go_with_them() {
    let mut pair = Pair::holding(0);
    let with_secret = thing_with_secret(1);
    let reference = with_secret.secret.clone().unwrap();
    pair.publish(
        Change::default()
            .put("s", &with_secret)
            .secret("variable/x", 1, "s3cret"),
    );
    for _ in 0..2 {
        assert_eq!(pair.state().secrets.get(&reference), Some("s3cret"));
        pair.restart();
    }
    let held = pair.state();
    pair.publish(Change::default().delete("s", Some(DropCause::Deletion)));
    assert_eq!(pair.state().secrets.get(&reference), None);
    assert_eq!(held.secrets.get(&reference), Some("s3cret"));
    let secrets = pair.dir.path().join("feeds/routes-global/secrets");
    assert_eq!(std::fs::read_dir(secrets).unwrap().count(), 0);
}

#[test]
fn a_secret_that_no_item_refers_to_is_neither_kept_nor_stored() {
    let mut pair = Pair::holding(0);
    pair.publish(Change::default().secret("variable/y", 1, "s3cret"));
    let reference = SecretRef {
        key: "variable/y".into(),
        version: 1,
    };
    assert_eq!(pair.state().secrets.get(&reference), None);
    let secrets = pair.dir.path().join("feeds/routes-global/secrets");
    assert_eq!(std::fs::read_dir(secrets).unwrap().count(), 0);
}

#[test]
fn a_missing_secret_asks_for_the_whole_document_once() {
    let mut pair = Pair::holding(0);
    let received = pair.publish(Change::default().put("s", &thing_with_secret(2)));
    assert!(received.wants_full && pair.ledger.wants_full());
    assert_eq!(pair.status().missing_secrets, 1);
    let full = pair.publisher.full(Change::default());
    assert!(!pair.receive(&full).unwrap().wants_full);
    let full = pair
        .publisher
        .full(Change::default().secret("variable/x", 2, "s3cret"));
    pair.receive(&full).unwrap();
    assert!(!pair.ledger.wants_full());
}

#[test]
fn what_cant_be_stored_is_not_shown_and_comes_again() {
    let mut pair = Pair::holding(1);
    let feed_dir = pair.dir.path().join("feeds/routes-global");
    let secrets = feed_dir.join("secrets");
    std::fs::remove_dir(&secrets).unwrap();
    let change = || {
        Change::default()
            .put("s", &thing_with_secret(1))
            .secret("variable/x", 1, "v")
    };
    let lines = pair.publisher.publish(change());
    assert!(matches!(pair.receive(&lines), Err(Error::Snapshot(_))));
    assert_eq!(pair.sizes(), [0]);
    assert_ne!(pair.ledger.applied(), Some(&pair.publisher.commit()));
    std::fs::create_dir(&secrets).unwrap();
    pair.ledger
        .connected(FeedKeys::from_base64(&[pair.publisher.public_key()]).unwrap());
    pair.receive(&lines).unwrap();
    assert_eq!(pair.ledger.applied(), Some(&pair.publisher.commit()));
}

#[test]
fn a_change_set_that_a_bug_broke_off_is_asked_for_again() {
    let mut pair = Pair::holding(2);
    let before = pair.ledger.position();
    let change = Change::default()
        .put("i2", &thing(2))
        .put("x", &thing(PANICS));
    let lines = pair.publisher.publish(change);
    let broken_off = std::panic::AssertUnwindSafe(|| pair.receive(&lines));
    assert!(std::panic::catch_unwind(broken_off).is_err());
    assert_eq!((pair.ledger.position(), pair.sizes()), (before, vec![0, 1]));

    let _ = pair
        .publisher
        .publish(Change::default().put("x", &thing(3)));
    pair.receive(&pair.publisher.full(Change::default()))
        .unwrap();
    assert_eq!(pair.sizes(), [0, 1, 2, 3]);
    pair.restart();
    assert_eq!(pair.sizes(), [0, 1, 2, 3]);
}

#[test]
fn an_item_gives_its_bytes_back_unless_this_build_knows_only_a_part_of_it() {
    #[derive(Serialize)]
    struct Larger {
        size: u32,
        secret: Option<SecretRef>,
        newer: bool,
    }
    let larger = Larger {
        size: 2,
        secret: None,
        newer: true,
    };
    let mut pair = Pair::holding(1);
    pair.publish(Change::default().put("i2", &larger));
    let bytes = |pair: &Pair, id: &str| {
        let state = pair.state();
        let rendered = state.items[id].rendered();
        rendered.map(|rendered| rendered.json().to_owned())
    };
    let known = serde_json::to_string(&thing(0)).unwrap();
    assert_eq!(bytes(&pair, "i0"), Some(known.clone()));
    assert_eq!(bytes(&pair, "i2"), None);
    pair.restart();
    assert_eq!(bytes(&pair, "i0"), Some(known));
}

#[test]
fn another_rings_routes_replace_the_old_ones_when_they_are_whole_and_are_followed_after_a_restart()
{
    let dir = tempfile::tempdir().unwrap();
    let key = Signer::generate_pkcs8().unwrap();
    let [mut all, mut canary] =
        [Ring::All, Ring::Canary].map(|ring| Publisher::new(FeedName::GlobalRoutes(ring), &key));
    let (mut ledger, _) = load(dir.path(), &all);
    let _ = all.publish(Change::default());
    let _ = all.publish(Change::default().put("i1", &thing(1)));
    ledger
        .receive(all.full(Change::default()).as_bytes())
        .unwrap();

    ledger.follow(Ring::Canary);
    assert_eq!(ledger.position(), None);
    assert!(ledger.state().borrow().items.contains_key("i1"));
    let _ = canary.publish(Change::default().put("i1", &thing(7)));
    ledger
        .receive(canary.full(Change::default()).as_bytes())
        .unwrap();
    let size = |ledger: &Ledger<Thing>| ledger.state().borrow().items["i1"].item.size;
    assert_eq!(size(&ledger), 7);

    let (mut ledger, _) = load(dir.path(), &all);
    assert_eq!(size(&ledger), 7);
    assert_eq!(ledger.applied().unwrap().feed.ring(), Some(Ring::Canary));
    let change = canary.publish(Change::default().put("i1", &thing(8)));
    ledger.receive(change.as_bytes()).unwrap();
    assert_eq!(size(&ledger), 8);
}

/// Else a node that can't keep what it is sent would ask for it at full speed.
#[test]
fn a_change_under_way_is_no_sign_of_a_good_connection_and_a_stored_one_is() {
    let mut pair = Pair::new();
    let full = pair.publisher.full(Change::default());
    let (begin, rest) = full.split_once('\n').unwrap();
    assert!(!pair.receive(&format!("{begin}\n")).unwrap().alive);
    assert!(pair.receive(rest).unwrap().alive);
    assert!(pair.receive(protocol::feed::writer::idle()).unwrap().alive);
}

#[test]
fn the_control_plane_is_heard_when_it_has_said_what_is_newest() {
    let mut pair = Pair::new();
    let heard = |pair: &Pair| pair.status.borrow().heard;
    let full = pair.publisher.full(Change::default());
    let (begin, rest) = full.split_once('\n').unwrap();
    pair.receive(&format!("{begin}\n")).unwrap();
    assert!(!heard(&pair), "what it begins with says nothing yet");
    pair.receive(rest).unwrap();
    assert!(heard(&pair));
    pair.restart();
    assert!(!heard(&pair), "what is from the disk is not heard");
    pair.receive(protocol::feed::writer::idle()).unwrap();
    assert!(heard(&pair), "it is as it was");
}
