//! One suite for everything that keeps its rows by comparing before it sets: PostgreSQL behind the
//! control plane's store, and the simulation's tables in memory. So the model can't drift from the SQL.

pub mod builds;
pub mod liveness;
pub mod orphan;
mod report;
pub mod rollout;

use std::time::Duration;

use domain::{
    deployment::machine::Step,
    generation::{Epoch, Generation, Position},
    id::{DeploymentId, InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::feed::{DropCause, FeedName};

pub use report::{agent_report, applied, building, edge_report, with_item};

/// A change of a feed's item.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// Adds or replaces it.
    Put(&'a str, &'a str),
    /// Removes it.
    Delete(&'a str),
    /// Lets go of what no document has.
    LetGo(&'a str),
}

/// The cause of every delete of the suite.
pub const CAUSE: DropCause = DropCause::Deletion;

/// What a reader of a feed is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Where the feed stands.
    pub position: Position,
    /// Of the whole document.
    pub digest: String,
    /// The items are the whole document.
    pub full: bool,
    /// Ids of items, sorted.
    pub items: Vec<String>,
    /// Ids of what has left, sorted.
    pub gone: Vec<String>,
}

/// The operations that compare and set, each in a transaction of its own, on a platform with one
/// tenant. What makes rows for them is here, too.
#[allow(async_fn_in_trait)]
pub trait Tables {
    /// Makes an agent's node that offers so many thousandths of a CPU, and as many mebibytes.
    async fn node(&mut self, room: u32) -> NodeId;
    /// An operator empties a node, or no longer.
    async fn drain(&mut self, node: NodeId, draining: bool);
    /// What is reserved of a node, in both.
    async fn reserved(&mut self, node: NodeId) -> (u32, u64);
    /// Makes a service.
    async fn service(&mut self) -> ServiceId;

    /// Makes a deployment behind all others of its service.
    async fn deploy(&mut self, service: ServiceId) -> DeploymentId;
    /// The version of a deployment that has not ended.
    async fn version(&mut self, deployment: DeploymentId) -> Option<i64>;
    /// A step, if the version is still this one.
    async fn advance(&mut self, deployment: DeploymentId, version: i64, to: Step) -> bool;
    /// The service works towards it.
    async fn target(&mut self, deployment: DeploymentId);
    /// The service works towards it no more.
    async fn abandon(&mut self, deployment: DeploymentId);
    /// What a service works towards.
    async fn target_of(&mut self, service: ServiceId) -> Option<DeploymentId>;

    /// Reserves room for an instance.
    async fn place(
        &mut self,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    ) -> Option<InstanceId>;
    /// Tells an instance to stop.
    async fn tell(&mut self, instance: InstanceId) -> bool;
    /// Gives an instance's room back.
    async fn gone(&mut self, instance: InstanceId) -> bool;

    /// Stores a node's report about instances; whether it was not too old.
    async fn report(
        &mut self,
        node: NodeId,
        boot: &str,
        sequence: u64,
        instances: &[(InstanceId, State)],
    ) -> bool;
    /// What was reported of an instance.
    async fn state(&mut self, instance: InstanceId) -> State;
    /// Whether its node's newest report has it.
    async fn is_reported(&mut self, instance: InstanceId) -> bool;

    /// Changes a feed.
    async fn write(&mut self, feed: &FeedName, changes: &[Item<'_>]) -> Position;
    /// What a reader at a position is sent.
    async fn read(&mut self, feed: &FeedName, at: Position) -> Sent;

    /// Takes a lease for one of several holders.
    async fn lease(&mut self, name: &str, holder: u8, lifetime: Duration) -> Option<i64>;
    /// A holder ends in good order: it gives back its leases, and the evaluations that it has in hand.
    async fn hand_over(&mut self, holder: u8);

    /// Asks for an evaluation.
    async fn request(&mut self, service: ServiceId);
    /// Takes one, for holder 1; it stays in hand until it is finished.
    async fn claim(&mut self) -> Option<ServiceId>;
    /// Ends the one that was taken last.
    async fn finish(&mut self, blocked: bool);
    /// Asks blocked ones again, because there may be room.
    async fn revive(&mut self);

    /// A node has shown a position of a feed.
    async fn show(&mut self, feed: &FeedName, position: Position);
    /// The highest position that was shown.
    async fn shown(&mut self) -> Option<Position>;
    /// An operator says that this database is the true one.
    async fn restored(&mut self) -> Epoch;
}

/// Runs everything.
pub async fn suite(tables: &mut (impl orphan::Orphans + builds::Builds + rollout::Rollouts)) {
    steps(tables).await;
    targets(tables).await;
    room(tables).await;
    ends(tables).await;
    reports(tables).await;
    feeds(tables).await;
    leases(tables).await;
    evaluations(tables).await;
    liveness::suite(tables).await;
    builds::suite(tables).await;
    orphan::suite(tables).await;
    rollout::suite(tables).await;
    epochs(tables).await;
}

async fn steps(tables: &mut impl Tables) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    let read = tables.version(deployment).await.unwrap();
    assert!(tables.advance(deployment, read, Step::Placing).await);
    assert!(
        !tables.advance(deployment, read, Step::Failed).await,
        "a second writer that read the same version"
    );
    let read = tables.version(deployment).await.unwrap();
    assert!(tables.advance(deployment, read, Step::Live).await);
    assert_eq!(tables.version(deployment).await, None, "it has ended");
    assert!(
        !tables.advance(deployment, read, Step::Starting).await,
        "back from the end"
    );
}

async fn targets(tables: &mut impl Tables) {
    let service = tables.service().await;
    let (first, second) = (tables.deploy(service).await, tables.deploy(service).await);
    tables.target(first).await;
    tables.target(second).await;
    tables.abandon(first).await;
    assert_eq!(tables.target_of(service).await, Some(second), "another's");
    tables.abandon(second).await;
    assert_eq!(tables.target_of(service).await, None);
}

async fn room(tables: &mut impl Tables) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    let node = tables.node(1_000).await;
    let first = tables.place(deployment, node, 600).await;
    assert!(first.is_some());
    assert_eq!(tables.place(deployment, node, 600).await, None, "no room");
    assert_eq!(tables.reserved(node).await, (600, 600));
    assert!(tables.place(deployment, node, 400).await.is_some(), "full");
    tables.gone(first.unwrap()).await;
    tables.drain(node, true).await;
    assert_eq!(tables.place(deployment, node, 100).await, None, "emptied");
    tables.drain(node, false).await;
    assert!(tables.place(deployment, node, 600).await.is_some());
    assert_eq!(tables.reserved(node).await, (1_000, 1_000));
}

async fn ends(tables: &mut impl Tables) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    let node = tables.node(1_000).await;
    let instance = tables.place(deployment, node, 250).await.unwrap();
    assert!(tables.tell(instance).await);
    assert!(!tables.tell(instance).await, "told once");
    assert!(tables.gone(instance).await);
    assert!(!tables.gone(instance).await, "given back once");
    assert_eq!(tables.reserved(node).await, (0, 0));
}

async fn reports(tables: &mut impl Tables) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    let (node, other) = (tables.node(1_000).await, tables.node(1_000).await);
    let instance = tables.place(deployment, node, 250).await.unwrap();
    let running = [(instance, State::Running)];
    assert!(tables.report(node, "b1", 1, &running).await);
    assert!(!tables.report(node, "b1", 1, &[]).await, "twice");
    assert!(
        tables
            .report(node, "b1", 3, &[(instance, State::Pulling)])
            .await
    );
    assert_eq!(
        tables.state(instance).await,
        State::Running,
        "it only rises"
    );
    assert!(
        tables.is_reported(instance).await,
        "what a node without its disk takes for new is there all the same"
    );
    assert!(!tables.report(node, "b1", 2, &[]).await, "overtaken");
    assert!(tables.report(node, "b2", 1, &[]).await, "a new process");
    assert!(!tables.is_reported(instance).await);
    assert!(!tables.report(node, "b1", 9, &[]).await, "the old process");
    assert!(tables.report(node, "b3", 1, &[]).await);
    assert!(
        !tables.report(node, "b1", 10, &[]).await,
        "an even older one"
    );
    let stopped = [(instance, State::Stopped)];
    assert!(tables.report(other, "c1", 1, &stopped).await);
    assert_eq!(tables.state(instance).await, State::Running, "not its node");
    assert!(tables.report(node, "b3", 2, &stopped).await);
    assert_eq!(tables.state(instance).await, State::Stopped);
}

async fn feeds(tables: &mut impl Tables) {
    let feed = FeedName::Node(tables.node(1).await);
    let nowhere = Position::default();
    let empty = tables.read(&feed, nowhere).await;
    assert!(empty.full && empty.items.is_empty());
    let first = tables
        .write(&feed, &[Item::Put("a", "1"), Item::Put("b", "1")])
        .await;
    assert_eq!(first.generation.0, empty.position.generation.0 + 1, "once");
    let same = tables
        .write(&feed, &[Item::Put("a", "1"), Item::Delete("c")])
        .await;
    assert_eq!(same, first, "nothing has changed");
    let second = tables
        .write(&feed, &[Item::Put("a", "2"), Item::Delete("b")])
        .await;
    assert_eq!(second.generation.0, first.generation.0 + 1);

    let news = tables.read(&feed, first).await;
    assert!(!news.full);
    assert_eq!(
        (news.position, news.items, news.gone),
        (second, ids(&["a"]), ids(&["b"]))
    );
    let whole = tables.read(&feed, nowhere).await;
    assert!(whole.full && whole.items == ids(&["a"]) && whole.gone == ids(&["b"]));
    assert_eq!(whole.digest, news.digest);
    let ahead = Position {
        generation: Generation(second.generation.0 + 1),
        ..second
    };
    assert!(
        tables.read(&feed, ahead).await.full,
        "a lost history's reader"
    );

    tables
        .write(&feed, &[Item::LetGo("z"), Item::LetGo("a")])
        .await;
    let let_go = tables.read(&feed, second).await;
    assert_eq!(
        (let_go.items, let_go.gone),
        (ids(&[]), ids(&["z"])),
        "a is there"
    );
    tables.write(&feed, &[Item::Put("b", "1")]).await;
    let back = tables.read(&feed, first).await;
    assert_eq!((back.items, back.gone), (ids(&["a", "b"]), ids(&["z"])));
}

async fn leases(tables: &mut impl Tables) {
    let long = Duration::from_secs(3_600);
    assert_eq!(tables.lease("a", 1, long).await, Some(1));
    assert_eq!(tables.lease("a", 2, long).await, None, "held");
    assert_eq!(
        tables.lease("a", 1, Duration::ZERO).await,
        Some(1),
        "renewed"
    );
    assert_eq!(tables.lease("a", 2, long).await, Some(2), "taken over");
    assert_eq!(tables.lease("a", 1, long).await, None);
    assert_eq!(tables.lease("b", 1, long).await, Some(1), "another lease");
    tables.hand_over(1).await;
    assert_eq!(tables.lease("a", 1, long).await, None, "not its own");
    assert_eq!(tables.lease("b", 2, long).await, Some(2), "at once");
    tables.hand_over(2).await;
    assert_eq!(tables.lease("b", 1, long).await, Some(3), "it only rises");
    assert_eq!(tables.lease("c", 1, 3 * long).await, Some(1));
    assert_eq!(tables.lease("c", 2, long).await, Some(2), "too far ahead");
    assert_eq!(tables.lease("c", 1, long).await, None, "held");
}

async fn evaluations(tables: &mut impl Tables) {
    while tables.claim().await.is_some() {
        tables.finish(false).await;
    }
    let service = tables.service().await;
    tables.request(service).await;
    tables.request(service).await;
    assert_eq!(tables.claim().await, Some(service));
    assert_eq!(tables.claim().await, None, "two triggers, one question");
    tables.request(service).await;
    tables.finish(true).await;
    assert_eq!(
        tables.claim().await,
        Some(service),
        "asked during the answer"
    );
    tables.finish(true).await;
    assert_eq!(tables.claim().await, None, "blocked");
    tables.revive().await;
    assert_eq!(tables.claim().await, Some(service), "there may be room");
    tables.finish(false).await;
    tables.revive().await;
    assert_eq!(tables.claim().await, None, "answered");
    tables.request(service).await;
    assert_eq!(tables.claim().await, Some(service));
    tables.hand_over(2).await;
    tables.revive().await;
    assert_eq!(tables.claim().await, None, "in hand still");
    tables.hand_over(1).await;
    tables.revive().await;
    assert_eq!(tables.claim().await, Some(service), "given back");
}

async fn epochs(tables: &mut impl Tables) {
    let feed = FeedName::Node(tables.node(1).await);
    let before = tables.write(&feed, &[Item::Put("a", "1")]).await;
    let at = |epoch, generation| Position {
        epoch: Epoch(epoch),
        generation: Generation(generation),
    };
    let epoch = before.epoch.0;
    tables.show(&feed, at(epoch, 900)).await;
    tables.show(&feed, at(epoch + 3, 1)).await;
    tables.show(&feed, at(epoch + 2, 999)).await;
    assert_eq!(tables.shown().await, Some(at(epoch + 3, 1)), "the highest");
    let restored = tables.restored().await;
    assert!(restored > Epoch(epoch + 3), "above all that was shown");
    assert_eq!(tables.shown().await, None);
    let sent = tables.read(&feed, before).await;
    assert!(sent.full && sent.position.epoch == restored);
    assert!(tables.restored().await > restored);
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}
