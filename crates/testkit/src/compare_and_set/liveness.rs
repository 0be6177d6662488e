//! Which nodes can be counted on: silence counts only while somebody listens; after a pause it counts anew and
//! for twice as long; one that an operator has declared dead is let in when it says that nothing runs there.

use std::time::Duration;

use domain::{
    generation::{Generation, Position},
    id::{DeploymentId, InstanceId, NodeId, ServiceId},
    instance::State,
};
use protocol::feed::FeedName;
use scheduler::Liveness;

use super::{Item, Tables};

/// After so much silence a node is late; lost after 75 s more.
pub const LATE_AFTER: Duration = Duration::from_secs(45);

/// What is kept of nodes' silence, and what follows from it.
#[allow(async_fn_in_trait)]
pub trait Nodes: Tables {
    /// This much time passes, in which nothing happens.
    async fn pass(&mut self, time: Duration);
    /// A replica says that it could store reports just now, and marks those that were silent for [`LATE_AFTER`].
    async fn look(&mut self);
    /// How a node stands, as the scheduler sees it.
    async fn liveness(&mut self, node: NodeId) -> Liveness;
    /// Whether the scheduler has to look at a service.
    async fn is_disturbed(&mut self, service: ServiceId) -> bool;
    /// An operator declares a node dead; whether that may be.
    async fn fence(&mut self, node: NodeId) -> bool;
    /// What fenced nodes run shall go; what is new about that.
    async fn stop_fenced(&mut self) -> Vec<InstanceId>;
    /// Stores a report of a node that has applied its feed up to a position.
    async fn report_applied(
        &mut self,
        node: NodeId,
        sequence: u64,
        applied: Position,
        instances: &[(InstanceId, State)],
    );
}

/// Runs everything about nodes' silence.
pub async fn suite(tables: &mut impl Nodes) {
    tables.look().await;
    silence(tables).await;
    pauses(tables).await;
    guarded(tables).await;
    disturbances(tables).await;
    fences(tables).await;
}

/// Time in which somebody listens.
pub(super) async fn listen(tables: &mut impl Nodes, seconds: u64) {
    for _ in 0..seconds / 2 {
        tables.pass(Duration::from_secs(2)).await;
        tables.look().await;
    }
}

/// Time in which nobody does; then somebody does again.
async fn listen_after(tables: &mut impl Nodes, pause: u64) {
    tables.pass(Duration::from_secs(pause)).await;
    tables.look().await;
}

async fn silence(tables: &mut impl Nodes) {
    let node = tables.node(1_000).await;
    listen(tables, 34).await;
    assert_eq!(tables.liveness(node).await, Liveness::Punctual);
    listen(tables, 20).await;
    assert_eq!(tables.liveness(node).await, Liveness::Late);
    listen(tables, 50).await;
    assert_eq!(tables.liveness(node).await, Liveness::Late, "not for long");
    listen(tables, 40).await;
    assert_eq!(tables.liveness(node).await, Liveness::Lost);
    assert!(tables.report(node, "first", 2, &[]).await);
    assert_eq!(
        tables.liveness(node).await,
        Liveness::Punctual,
        "it is back"
    );
    listen(tables, 34).await;
    assert_eq!(
        tables.liveness(node).await,
        Liveness::Punctual,
        "as at first"
    );
}

async fn pauses(tables: &mut impl Nodes) {
    let lost = tables.node(1_000).await;
    listen(tables, 150).await;
    let late = tables.node(1_000).await;
    listen(tables, 60).await;
    let punctual = tables.node(1_000).await;

    listen_after(tables, 600).await;
    expect(tables, lost, Liveness::Lost, "it was before").await;
    expect(tables, late, Liveness::Late, "spared").await;
    expect(tables, punctual, Liveness::Punctual, "spared").await;
    listen(tables, 60).await;
    expect(tables, late, Liveness::Late, "counted anew").await;
    expect(tables, punctual, Liveness::Punctual, "twice as long").await;
    listen(tables, 50).await;
    expect(tables, late, Liveness::Lost, "for long enough").await;
    expect(tables, punctual, Liveness::Late, "for long enough").await;
}

async fn expect(tables: &mut impl Nodes, node: NodeId, liveness: Liveness, why: &str) {
    assert_eq!(tables.liveness(node).await, liveness, "{why}");
}

/// While it is not known which database is the true one, nobody listens and nothing is given up.
async fn guarded(tables: &mut impl Nodes) {
    let lost = tables.node(1_000).await;
    let feed = FeedName::Node(lost);
    let here = tables.write(&feed, &[Item::Put("a", "1")]).await;
    listen(tables, 150).await;
    let late = tables.node(1_000).await;
    listen(tables, 60).await;
    let punctual = tables.node(1_000).await;
    let ahead = Position {
        generation: Generation(here.generation.0 + 9),
        ..here
    };
    tables.show(&feed, ahead).await;
    assert_eq!(tables.liveness(lost).await, Liveness::Late, "not given up");
    listen(tables, 300).await;
    assert_eq!(tables.liveness(late).await, Liveness::Late);
    assert_eq!(tables.liveness(punctual).await, Liveness::Punctual);
    tables.restored().await;
    tables.look().await;
    assert_eq!(tables.liveness(lost).await, Liveness::Lost, "as before");
    assert_eq!(tables.liveness(late).await, Liveness::Late, "spared");
    listen(tables, 60).await;
    assert_eq!(tables.liveness(punctual).await, Liveness::Punctual, "twice");
    listen(tables, 50).await;
    assert_eq!(tables.liveness(punctual).await, Liveness::Late);
}

async fn disturbances(tables: &mut impl Nodes) {
    let (service, deployment, node, instance) = running(tables).await;
    assert!(!tables.is_disturbed(service).await);
    tables.drain(node, true).await;
    assert!(tables.is_disturbed(service).await, "its node is emptied");
    tables.drain(node, false).await;
    listen(tables, 60).await;
    assert!(!tables.is_disturbed(service).await, "late is not lost");
    listen(tables, 90).await;
    assert!(tables.is_disturbed(service).await, "lost");
    let ended = [(instance, State::Stopped)];
    assert!(tables.report(node, "first", 3, &ended).await);
    assert!(tables.is_disturbed(service).await, "it ended by itself");
    tables.gone(instance).await;
    assert!(!tables.is_disturbed(service).await, "nothing is there");
    tables.place(deployment, node, 100).await.unwrap();
    assert!(!tables.is_disturbed(service).await, "one is wanted");
    tables.place(deployment, node, 100).await.unwrap();
    assert!(tables.is_disturbed(service).await, "one too many");
}

async fn fences(tables: &mut impl Nodes) {
    let (_, deployment, node, instance) = running(tables).await;
    let feed = FeedName::Node(node);
    let before = tables.write(&feed, &[Item::Put("a", "1")]).await;
    let newest = tables.write(&feed, &[Item::Put("a", "2")]).await;
    assert!(!tables.fence(node).await, "it reports");
    listen(tables, 60).await;
    assert!(tables.stop_fenced().await.is_empty(), "nobody said so");
    assert!(tables.fence(node).await);
    assert_eq!(tables.liveness(node).await, Liveness::Gone);
    assert_eq!(tables.stop_fenced().await, [instance]);
    assert!(tables.stop_fenced().await.is_empty(), "told once");

    let runs = [(instance, State::Running)];
    tables.report_applied(node, 3, newest, &runs).await;
    assert_eq!(tables.liveness(node).await, Liveness::Gone, "it runs on");
    tables.report_applied(node, 4, newest, &[]).await;
    let liveness = tables.liveness(node).await;
    assert_eq!(liveness, Liveness::Gone, "its end is not in the plan yet");
    tables.gone(instance).await;
    tables.report_applied(node, 5, before, &[]).await;
    let liveness = tables.liveness(node).await;
    assert_eq!(
        liveness,
        Liveness::Gone,
        "it has not read that it shall end"
    );
    tables.report_applied(node, 6, newest, &[]).await;
    assert_eq!(tables.liveness(node).await, Liveness::Punctual, "let in");
    let placed = tables.place(deployment, node, 100).await;
    assert_eq!(placed, None, "and cordoned");
}

/// A service that wants one instance, and has it.
async fn running(tables: &mut impl Nodes) -> (ServiceId, DeploymentId, NodeId, InstanceId) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    let node = tables.node(1_000).await;
    let instance = tables.place(deployment, node, 250).await.unwrap();
    let runs = [(instance, State::Running)];
    assert!(tables.report(node, "first", 2, &runs).await);
    (service, deployment, node, instance)
}
