//! Builds: one node has each and only its word counts, until it has ended; then the node may forget it. What a node
//! makes although no document of its has it any more, it is told to let go.

use domain::{
    generation::{Generation, Position},
    id::{BuildId, DeploymentId, NodeId},
};
use protocol::{
    feed::FeedName,
    report::{BUILD_CANCELED, BuildResult, BuildState, Problem},
};

use super::{
    Item,
    liveness::{Nodes, listen},
};

/// How a build stands, as its reconciler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Who has it.
    pub node: Option<NodeId>,
    /// That node can't be counted on.
    pub node_lost: bool,
    /// Its image is not wanted any more.
    pub canceled: bool,
    /// Nothing more happens to it.
    pub finished: bool,
}

/// What is kept of builds, and what follows from it.
#[allow(async_fn_in_trait)]
pub trait Builds: Nodes {
    /// A build as it was read: a writer that is overtaken has nothing newer.
    type Read;

    /// Makes a deployment's build.
    async fn start_build(&mut self, deployment: DeploymentId) -> BuildId;
    /// Reads it; none when no node has to know of it any more.
    async fn read_build(&mut self, build: BuildId) -> Option<Self::Read>;
    /// How it stood then.
    fn stand(read: &Self::Read) -> Stand;
    /// Gives it to a node, if it still is where it was.
    async fn assign(&mut self, read: &Self::Read, node: NodeId) -> bool;
    /// Whether it still is where it was, and as it was.
    async fn hold(&mut self, read: &Self::Read) -> bool;
    /// Ends it if it is canceled.
    async fn end_canceled(&mut self, build: BuildId);
    /// Agents that take builds, those with the fewest first.
    async fn builders(&mut self) -> Vec<NodeId>;
    /// Stores a node's report about builds.
    async fn report_builds(
        &mut self,
        node: NodeId,
        sequence: u64,
        builds: &[(BuildId, BuildState)],
    );
    /// Likewise, of a node that works by its feed as of this position.
    async fn report_builds_at(
        &mut self,
        node: NodeId,
        sequence: u64,
        applied: Position,
        builds: &[(BuildId, BuildState)],
    );
    /// What came of a deployment's build: a digest, or the code of a problem.
    async fn result(&mut self, deployment: DeploymentId) -> Option<Result<String, String>>;
}

/// Runs everything about builds.
pub async fn suite(tables: &mut impl Builds) {
    tables.look().await;
    places(tables).await;
    words(tables).await;
    cancellations(tables).await;
    ends(tables).await;
    builders(tables).await;
    silence(tables).await;
    strangers(tables).await;
}

async fn build(tables: &mut impl Builds) -> (DeploymentId, BuildId) {
    let service = tables.service().await;
    let deployment = tables.deploy(service).await;
    (deployment, tables.start_build(deployment).await)
}

/// A build that a node has.
async fn build_at(tables: &mut impl Builds, node: NodeId) -> (DeploymentId, BuildId) {
    let (deployment, build) = build(tables).await;
    let read = tables.read_build(build).await.unwrap();
    assert!(tables.assign(&read, node).await);
    (deployment, build)
}

async fn stand<T: Builds>(tables: &mut T, build: BuildId) -> Option<Stand> {
    let read = tables.read_build(build).await;
    read.map(|read| T::stand(&read))
}

async fn places<T: Builds>(tables: &mut T) {
    let (one, other) = (tables.node(1).await, tables.node(1).await);
    let (deployment, build) = build(tables).await;
    let unassigned = tables.read_build(build).await.unwrap();
    let nowhere = Stand {
        node: None,
        node_lost: false,
        canceled: false,
        finished: false,
    };
    assert_eq!(T::stand(&unassigned), nowhere);
    assert!(tables.assign(&unassigned, one).await);
    assert!(!tables.assign(&unassigned, other).await, "given away");
    let at_one = tables.read_build(build).await.unwrap();
    assert_eq!(T::stand(&at_one).node, Some(one));
    assert!(tables.hold(&at_one).await);
    assert!(tables.assign(&at_one, other).await, "its node is lost");
    assert!(!tables.hold(&at_one).await, "it is elsewhere");

    let at_other = tables.read_build(build).await.unwrap();
    assert!(tables.hold(&at_other).await);
    tables.abandon(deployment).await;
    assert!(!tables.hold(&at_other).await, "it shall end");
    let canceled = tables.read_build(build).await.unwrap();
    assert!(T::stand(&canceled).canceled && tables.hold(&canceled).await);
    tables
        .report_builds(other, 2, &[(build, failed(BUILD_CANCELED))])
        .await;
    assert!(!tables.hold(&canceled).await, "it has ended");
    assert!(!tables.assign(&canceled, one).await, "it has ended");
}

async fn words(tables: &mut impl Builds) {
    let (one, other) = (tables.node(1).await, tables.node(1).await);
    let (deployment, build) = build_at(tables, one).await;
    let at_one = tables.read_build(build).await.unwrap();
    let says = |digest| [(build, built(digest))];
    tables.report_builds(other, 2, &says("of-other")).await;
    assert_eq!(tables.result(deployment).await, None, "not its node");
    tables
        .report_builds(one, 2, &[(build, BuildState::Building)])
        .await;
    assert_eq!(tables.result(deployment).await, None, "not over");
    assert!(tables.assign(&at_one, other).await);
    tables.report_builds(one, 3, &says("of-one")).await;
    assert_eq!(tables.result(deployment).await, None, "not its node now");
    tables.report_builds(other, 3, &says("of-other")).await;
    let of_other = Some(Ok("of-other".to_owned()));
    assert_eq!(tables.result(deployment).await, of_other);
    tables.report_builds(other, 4, &says("another")).await;
    tables
        .report_builds(other, 5, &[(build, failed("dockerfile_failed"))])
        .await;
    assert_eq!(tables.result(deployment).await, of_other, "it has ended");
}

async fn cancellations(tables: &mut impl Builds) {
    let node = tables.node(1).await;
    let (wanted, build) = build_at(tables, node).await;
    tables.end_canceled(build).await;
    assert_eq!(tables.result(wanted).await, None, "nobody canceled it");
    let canceled = [(build, failed(BUILD_CANCELED))];
    tables.report_builds(node, 2, &canceled).await;
    assert_eq!(tables.result(wanted).await, None, "in another history");
    tables.report_builds(node, 3, &[(build, built("a"))]).await;
    tables.abandon(wanted).await;
    tables.end_canceled(build).await;
    assert_eq!(tables.result(wanted).await, Some(Ok("a".to_owned())));

    let (unwanted, build) = build_at(tables, node).await;
    tables.abandon(unwanted).await;
    assert_eq!(tables.result(unwanted).await, None, "its node ends it");
    tables.end_canceled(build).await;
    let canceled = Some(Err("canceled".to_owned()));
    assert_eq!(tables.result(unwanted).await, canceled);
    tables.report_builds(node, 4, &[(build, built("b"))]).await;
    assert_eq!(tables.result(unwanted).await, canceled, "too late");
}

async fn ends(tables: &mut impl Builds) {
    let (node, other) = (tables.node(1).await, tables.node(1).await);
    let (_, build) = build_at(tables, node).await;
    let id = format!("build/{build}");
    let put = [Item::Put(&id, "it")];
    tables.write(&FeedName::Node(other), &put).await;
    tables.write(&FeedName::Node(node), &put).await;
    tables.report_builds(node, 2, &[(build, built("a"))]).await;
    let known = stand(tables, build).await;
    assert!(known.is_some_and(|stand| stand.finished), "its node has it");
    tables
        .write(&FeedName::Node(node), &[Item::Delete(&id)])
        .await;
    assert_eq!(stand(tables, build).await, None, "its node has forgotten");
}

async fn builders(tables: &mut impl Builds) {
    let nodes = [
        tables.node(1).await,
        tables.node(1).await,
        tables.node(1).await,
    ];
    let [two, one, none] = nodes;
    let (_, first) = build_at(tables, two).await;
    let (_, second) = build_at(tables, two).await;
    build_at(tables, one).await;
    assert_eq!(takers(tables, &nodes).await, [none, one, two]);
    tables.drain(none, true).await;
    assert_eq!(takers(tables, &nodes).await, [one, two], "emptied");
    let ended = [(first, built("a")), (second, failed("build_timed_out"))];
    tables.report_builds(two, 2, &ended).await;
    assert_eq!(takers(tables, &nodes).await, [two, one], "they have ended");
}

/// Those of these agents that take builds.
async fn takers(tables: &mut impl Builds, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut all = tables.builders().await;
    all.retain(|node| nodes.contains(node));
    all
}

async fn silence(tables: &mut impl Builds) {
    let (node, dead) = (tables.node(1).await, tables.node(1).await);
    let (_, build) = build_at(tables, node).await;
    let (_, other) = build_at(tables, dead).await;
    listen(tables, 60).await;
    assert!(!is_lost(tables, build).await, "only late");
    assert!(takers(tables, &[node, dead]).await.is_empty(), "silent");
    assert!(tables.fence(dead).await);
    assert!(is_lost(tables, other).await, "declared dead");
    listen(tables, 80).await;
    assert!(is_lost(tables, build).await);
    tables.report_builds(node, 2, &[]).await;
    assert!(!is_lost(tables, build).await, "it is back");
}

async fn is_lost(tables: &mut impl Builds, build: BuildId) -> bool {
    let stand = stand(tables, build).await;
    stand.is_some_and(|stand| stand.node_lost)
}

async fn strangers(tables: &mut impl Builds) {
    let node = tables.node(1).await;
    let feed = FeedName::Node(node);
    let (own, stranger) = (BuildId::new(), BuildId::new());
    let (own_id, only) = (format!("build/{own}"), [format!("build/{stranger}")]);
    let start = tables.write(&feed, &[Item::Put(&own_id, "it")]).await;
    let both = [(own, BuildState::Building), (stranger, built("a"))];
    let earlier = Position {
        generation: Generation(start.generation.0 - 1),
        ..start
    };
    tables.report_builds_at(node, 2, start, &both).await;
    let told = tables.read(&feed, start).await;
    assert_eq!(told.gone, only, "its document has never had it");
    assert_eq!(told.items, [] as [String; 0], "the other one stays");
    for (sequence, applied) in [(3, start), (4, earlier)] {
        tables
            .report_builds_at(node, sequence, applied, &both)
            .await;
        let again = tables.read(&feed, start).await.position;
        assert_eq!(again, told.position, "it has not read it yet");
    }
    tables.report_builds_at(node, 5, told.position, &both).await;
    let again = tables.read(&feed, told.position).await;
    assert_eq!(again.gone, only, "it has read it and keeps it");

    let dropped = tables.write(&feed, &[Item::Delete(&own_id)]).await;
    tables
        .report_builds_at(node, 6, again.position, &both[..1])
        .await;
    let late = tables.read(&feed, dropped).await.position;
    assert_eq!(late, dropped, "it does not know yet that it is dropped");
    tables.show(&feed, dropped).await;
    tables.restored().await;
    let anew = tables.read(&feed, dropped).await.position;
    tables.report_builds_at(node, 7, dropped, &both).await;
    let same = tables.read(&feed, anew).await.position;
    assert_eq!(same, anew, "it has not seen this history");
    tables.report_builds_at(node, 8, anew, &both).await;
    let mut gone = tables.read(&feed, anew).await.gone;
    gone.sort();
    let mut all = [own_id, only.concat()];
    all.sort();
    assert_eq!(gone, all, "kept beside the first document of an epoch");
}

fn built(digest: &str) -> BuildState {
    BuildState::Succeeded(BuildResult {
        digest: digest.to_owned(),
        size: domain::quantity::Bytes(1),
        commit: None,
        source_digest: None,
    })
}

fn failed(code: &str) -> BuildState {
    BuildState::Failed {
        problem: Problem {
            code: code.to_owned(),
            message: "it did not work".to_owned(),
        },
    }
}
