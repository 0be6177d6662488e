//! What nodes run although the plan does not know it: told of once, taken back once, told to go once; and how long it
//! is waited for after a restore.

use std::time::Duration;

use domain::{
    generation::{Generation, Position},
    id::{DeploymentId, InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::feed::FeedName;

use super::{
    Item,
    liveness::{Nodes, listen},
};

/// What is kept of orphans.
#[allow(async_fn_in_trait)]
pub trait Orphans: Nodes {
    /// Stores a report of a node that runs this and nothing else, by this item; whether that was news.
    async fn report_orphan(
        &mut self,
        node: NodeId,
        sequence: u64,
        orphan: Orphan,
        item: Option<&str>,
    ) -> bool;
    /// Stores a report of a node that keeps this by an item of its own, or by none, and has applied its feed up to a
    /// position.
    async fn keeps_orphan(
        &mut self,
        node: NodeId,
        sequence: u64,
        orphan: Orphan,
        item: Option<&str>,
        applied: Position,
    );
    /// What may be taken back of a service, and the items that it runs by.
    async fn candidates(&mut self, service: ServiceId) -> Vec<(InstanceId, Option<String>)>;
    /// Makes an instance of an orphan.
    async fn take_back(
        &mut self,
        instance: InstanceId,
        deployment: DeploymentId,
        node: NodeId,
        room: u32,
    );
    /// An operator lets one go; false when there is none.
    async fn let_go(&mut self, instance: InstanceId) -> bool;
    /// A service is deleted.
    async fn let_go_of_service(&mut self, service: ServiceId);
    /// Those that were let go and whose nodes were not told yet.
    async fn going(&mut self) -> Vec<InstanceId>;
    /// Another server takes over, which nobody has noticed yet.
    async fn fail_over(&mut self);
    /// Whether an agent may still say what it runs without a plan.
    async fn is_settling(&mut self) -> bool;
}

/// An instance that the plan does not know.
#[derive(Debug, Clone, Copy)]
pub struct Orphan {
    /// The instance.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceId,
}

/// Runs everything about orphans.
pub async fn suite(tables: &mut impl Orphans) {
    told(tables).await;
    taken_back(tables).await;
    let_go(tables).await;
    let_go_in_an_older_epoch(tables).await;
    let_go_without_a_document(tables).await;
    over(tables).await;
    over_and_remembered(tables).await;
    fenced(tables).await;
    settling(tables).await;
}

async fn orphan(tables: &mut impl Orphans) -> Orphan {
    Orphan {
        instance: InstanceId::new(),
        service: tables.service().await,
    }
}

async fn told(tables: &mut impl Orphans) {
    let orphan = orphan(tables).await;
    let (node, other) = (tables.node(1_000).await, tables.node(1_000).await);
    assert!(tables.report_orphan(node, 2, orphan, None).await);
    let again = tables.report_orphan(node, 3, orphan, None).await;
    assert!(!again, "told already");
    let with_item = tables.report_orphan(node, 4, orphan, Some("a")).await;
    assert!(with_item, "and now what it runs by");
    assert!(!tables.report_orphan(node, 5, orphan, None).await);
    let known = [(orphan.instance, Some("a".to_owned()))];
    assert_eq!(tables.candidates(orphan.service).await, known, "remembered");
    assert!(tables.report_orphan(node, 6, orphan, Some("b")).await);
    assert!(tables.report(other, "first", 2, &[]).await);
    let known = [(orphan.instance, Some("b".to_owned()))];
    assert_eq!(tables.candidates(orphan.service).await, known, "not there");

    let ended = [(orphan.instance, State::Stopped)];
    assert!(tables.report(node, "first", 7, &ended).await);
    assert_eq!(tables.candidates(orphan.service).await, []);
    assert!(tables.report_orphan(node, 8, orphan, Some("a")).await);
    assert!(tables.report(node, "first", 9, &[]).await);
    assert_eq!(tables.candidates(orphan.service).await, [], "it is gone");
}

async fn taken_back(tables: &mut impl Orphans) {
    let orphan = orphan(tables).await;
    let deployment = tables.deploy(orphan.service).await;
    let node = tables.node(1_000).await;
    assert!(tables.place(deployment, node, 800).await.is_some());
    tables.report_orphan(node, 2, orphan, Some("a")).await;
    tables
        .take_back(orphan.instance, deployment, node, 600)
        .await;
    let reserved = tables.reserved(node).await;
    assert_eq!(reserved, (1_400, 1_400), "it runs, room or not");
    assert_eq!(tables.candidates(orphan.service).await, []);
    let news = tables.report_orphan(node, 3, orphan, Some("a")).await;
    assert!(!news, "it is in the plan");
    assert_eq!(tables.candidates(orphan.service).await, []);
    assert_eq!(tables.state(orphan.instance).await, State::Running);
    assert_eq!(tables.place(deployment, node, 100).await, None, "no room");
    assert!(tables.gone(orphan.instance).await);
    assert_eq!(tables.reserved(node).await, (800, 800));
}

async fn let_go(tables: &mut impl Orphans) {
    let (first, second) = (orphan(tables).await, orphan(tables).await);
    let (node, other) = (tables.node(1_000).await, tables.node(1_000).await);
    assert!(!tables.let_go(first.instance).await, "nobody runs it");
    tables.report_orphan(node, 2, first, Some("a")).await;
    tables.report_orphan(other, 2, second, Some("a")).await;
    tell(tables, node, first).await;
    assert!(tables.let_go(first.instance).await);
    assert_eq!(tables.candidates(first.service).await, []);
    let going = tables.going().await;
    assert_eq!(going, [first.instance], "what was told before is over");
    tell(tables, node, first).await;
    assert_eq!(tables.going().await, [], "told once");
    assert!(tables.let_go(first.instance).await, "it runs on");
    tables.let_go_of_service(second.service).await;
    assert_eq!(tables.going().await, [second.instance]);
    assert!(tables.report(other, "first", 3, &[]).await);
    assert_eq!(tables.going().await, [], "it has ended");
}

/// An epoch's first document ends nothing: who has read only there that it was let go is told again.
async fn let_go_in_an_older_epoch(tables: &mut impl Orphans) {
    let orphan = orphan(tables).await;
    let node = tables.node(1_000).await;
    tables.report_orphan(node, 2, orphan, Some("a")).await;
    assert!(tables.let_go(orphan.instance).await);
    let before = tell(tables, node, orphan).await;
    let told = Position {
        epoch: tables.restored().await,
        ..before
    };
    let unread = Position {
        generation: Generation(told.generation.0 - 1),
        ..told
    };
    let item = Some("a");
    for (sequence, applied) in [(3, before), (4, unread)] {
        let keeps = tables.keeps_orphan(node, sequence, orphan, item, applied);
        keeps.await;
        assert_eq!(tables.going().await, [], "it will read so");
    }
    tables.keeps_orphan(node, 5, orphan, item, told).await;
    assert_eq!(tables.going().await, [orphan.instance]);
    tell(tables, node, orphan).await;
    tables.keeps_orphan(node, 6, orphan, item, told).await;
    assert_eq!(tables.going().await, [], "it has not read that yet");
}

/// What no document of its node has may be on its way out; a minute later it is not.
async fn let_go_without_a_document(tables: &mut impl Orphans) {
    let orphan = orphan(tables).await;
    let node = tables.node(1_000).await;
    tables.report_orphan(node, 2, orphan, None).await;
    assert!(tables.let_go(orphan.instance).await);
    let told = tell(tables, node, orphan).await;
    tables.keeps_orphan(node, 3, orphan, None, told).await;
    assert_eq!(tables.going().await, [], "it has only just read so");
    listen(tables, 61).await;
    let ends = [(orphan.instance, State::Draining)];
    assert!(tables.report(node, "first", 4, &ends).await);
    assert_eq!(tables.going().await, [], "it goes");
    tables.keeps_orphan(node, 5, orphan, None, told).await;
    assert_eq!(tables.going().await, [orphan.instance]);
    tell(tables, node, orphan).await;
    assert!(tables.report(node, "first", 6, &[]).await);
}

/// An instance that the plan knows to be over, and its node.
async fn ended(tables: &mut impl Orphans) -> (NodeId, Orphan) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    let node = tables.node(1_000).await;
    let instance = tables.place(deployment, node, 100).await.unwrap();
    let orphan = Orphan { instance, service };
    assert!(tables.gone(instance).await);
    (node, orphan)
}

/// What the plan knows to be over, and its node has no document of.
async fn over(tables: &mut impl Orphans) {
    let (node, orphan) = ended(tables).await;
    let Orphan { instance, service } = orphan;
    assert!(!tables.report_orphan(node, 2, orphan, None).await);
    assert_eq!(tables.going().await, [], "its document ends it");
    assert!(tables.report_orphan(node, 3, orphan, Some("a")).await);
    assert_eq!(tables.candidates(service).await, []);
    assert_eq!(tables.going().await, [instance]);
    tell(tables, node, orphan).await;
    assert_eq!(tables.going().await, [], "told once");
    assert!(tables.report(node, "first", 4, &[]).await);
}

/// What the plan knows to be over, and its node only remembers: a document that it reads may end it by then.
async fn over_and_remembered(tables: &mut impl Orphans) {
    let (node, orphan) = ended(tables).await;
    let Orphan { instance, service } = orphan;
    listen(tables, 61).await;
    let ends = [(instance, State::Draining)];
    assert!(tables.report(node, "first", 2, &ends).await);
    assert_eq!(tables.going().await, [], "it goes");
    assert!(tables.report_orphan(node, 3, orphan, None).await);
    assert_eq!(tables.candidates(service).await, []);
    assert_eq!(tables.going().await, [instance]);
    tell(tables, node, orphan).await;
    assert!(!tables.report_orphan(node, 4, orphan, None).await);
    assert_eq!(tables.going().await, [], "told once");
    assert!(tables.report(node, "first", 5, &[]).await);
}

async fn tell(tables: &mut impl Orphans, node: NodeId, orphan: Orphan) -> Position {
    let id = format!("instance/{}", orphan.instance);
    let feed = FeedName::Node(node);
    tables.write(&feed, &[Item::LetGo(&id)]).await
}

async fn fenced(tables: &mut impl Orphans) {
    let orphan = orphan(tables).await;
    let node = tables.node(1_000).await;
    tables.report_orphan(node, 2, orphan, Some("a")).await;
    listen(tables, 60).await;
    assert_eq!(tables.candidates(orphan.service).await.len(), 1, "late");
    assert!(tables.fence(node).await);
    assert_eq!(tables.candidates(orphan.service).await, []);
}

async fn settling(tables: &mut impl Orphans) {
    // Everybody of before is late.
    listen(tables, 60).await;
    let node = tables.node(1_000).await;
    let feed = FeedName::Node(node);
    let before = tables.write(&feed, &[Item::Put("a", "1")]).await;
    tables.report_applied(node, 2, before, &[]).await;
    assert!(!tables.is_settling().await);
    tables.restored().await;
    assert!(tables.is_settling().await, "it has not read of the epoch");
    let newest = tables.write(&feed, &[Item::Put("a", "2")]).await;
    tables.report_applied(node, 3, newest, &[]).await;
    assert!(!tables.is_settling().await);
    tables.restored().await;
    tables.pass(Duration::from_secs(130)).await;
    assert!(!tables.is_settling().await, "not for ever");
    tables.restored().await;
    assert!(tables.is_settling().await);
    listen(tables, 100).await;
    assert!(!tables.is_settling().await, "who is late is not waited for");
    let here = tables.write(&feed, &[Item::Put("a", "3")]).await;
    let far = Generation(here.generation.0 + 9);
    for (epoch, is_open) in [(newest.epoch, false), (here.epoch, true)] {
        let ahead = Position {
            epoch,
            generation: far,
        };
        tables.show(&feed, ahead).await;
        let is_settling = tables.is_settling().await;
        assert_eq!(is_settling, is_open, "which history counts is open");
    }
    tables.restored().await;
    assert!(!tables.is_settling().await);
    let newest = tables.write(&feed, &[Item::Put("a", "4")]).await;
    tables.report_applied(node, 4, newest, &[]).await;
    assert!(!tables.is_settling().await);
    tables.fail_over().await;
    assert!(tables.is_settling().await, "an epoch is about to begin");
}
