//! A rollout of a new version of rendering: a step is written only if nobody has taken another one since it was
//! decided, and edges are judged by what they counted since their ring's turn came, beside what they counted by the version
//! before.

use domain::{generation::Position, id::NodeId, ring::Ring};
use protocol::{feed::FeedName, report::Traffic};

use super::{Item, Tables};

/// A step, as a program decides it that knows a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An epoch has begun.
    BeginAnew,
    /// This program's version begins its way.
    Start,
    /// It is a ring's turn.
    Advance(Ring),
    /// A ring's items are written.
    Rendered(Ring),
    /// A ring's edges serve by it.
    Soak(Ring),
    /// They have said since what they have counted.
    Count(Ring),
    /// It goes no further.
    Stop,
    /// Every ring has it.
    Finish,
}

/// How a ring stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// What its feeds are rendered in.
    pub version: i32,
    /// All of them are.
    pub rendered: bool,
    /// Its soak time has begun.
    pub soaking: bool,
    /// What its edges had counted soon after that is noted.
    pub counted: bool,
}

/// How an edge fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fares {
    /// It serves by what its ring was rendered to.
    pub applied: bool,
    /// Its process has started since what it had counted was noted.
    pub restarted: bool,
    /// Since its ring served by what it had, until its turn came; nothing if it was late at either.
    pub before: Traffic,
    /// Since then, or since its start.
    pub after: Traffic,
}

/// The operations of a rollout.
#[allow(async_fn_in_trait)]
pub trait Rollouts: Tables {
    /// What a program has seen when it decides.
    type Seen;

    /// Makes an edge's node of a ring.
    async fn edge(&mut self, ring: Ring) -> NodeId;
    /// Stores an edge's report, of a boot and with a sequence.
    async fn edge_reports(
        &mut self,
        edge: NodeId,
        at: (&str, u64),
        traffic: Traffic,
        applied: &[(FeedName, Position)],
    );
    /// An edge has been silent for too long.
    async fn edge_is_late(&mut self, edge: NodeId);
    /// A program that knows this version looks.
    async fn look_at_rollout(&mut self, newest: i32) -> Self::Seen;
    /// It takes a step.
    async fn take(&mut self, seen: &Self::Seen, step: Step);
    /// An operator lets a stopped one go on.
    async fn resume(&mut self);
    /// The newest version, and whether it is running, done or stopped.
    async fn rollout(&mut self) -> (i32, String);
    /// All rings in their order.
    async fn rings(&mut self) -> Vec<Stand>;
    /// How an edge fares.
    async fn fares(&mut self, edge: NodeId) -> Fares;
    /// Whether a program that knows this version may write routes.
    async fn may_write(&mut self, newest: i32) -> bool;
}

/// Runs everything about rollouts.
pub async fn suite(tables: &mut impl Rollouts) {
    in_order(tables).await;
    overtaken(tables).await;
    begun_anew(tables).await;
    counted(tables).await;
    late(tables).await;
    in_a_new_epoch(tables).await;
}

async fn take(tables: &mut impl Rollouts, newest: i32, steps: &[Step]) {
    for step in steps {
        let seen = tables.look_at_rollout(newest).await;
        tables.take(&seen, *step).await;
    }
}

async fn expect(tables: &mut impl Rollouts, version: i32, state: &str, why: &str) {
    let is = tables.rollout().await;
    assert_eq!(is, (version, state.to_owned()), "{why}");
}

async fn expect_versions(tables: &mut impl Rollouts, versions: [i32; 3], why: &str) {
    let rings = tables.rings().await.into_iter();
    let is: Vec<i32> = rings.map(|ring| ring.version).collect();
    assert_eq!(is, versions, "{why}");
}

/// Every ring, one after the other.
const ALL: [Step; 10] = {
    use Ring::{All, Canary, Region};
    use Step::{Advance, Finish, Rendered, Soak};
    [
        Advance(Canary),
        Rendered(Canary),
        Soak(Canary),
        Advance(Region),
        Rendered(Region),
        Soak(Region),
        Advance(All),
        Rendered(All),
        Soak(All),
        Finish,
    ]
};

/// The canary gets a version that is stopped, and what it had again.
const TURN_AND_BACK: [Step; 4] = [
    Step::Advance(Ring::Canary),
    Step::Rendered(Ring::Canary),
    Step::Stop,
    Step::Rendered(Ring::Canary),
];

/// Its edges are back at it.
const SERVES_BY_WHAT_IT_HAD: [Step; 2] = [Step::Soak(Ring::Canary), Step::Count(Ring::Canary)];

async fn in_order(tables: &mut impl Rollouts) {
    expect(tables, 1, "done", "at first").await;
    take(tables, 1, &[Step::Start]).await;
    expect(tables, 1, "done", "nothing is newer").await;
    take(tables, 2, &[Step::Start]).await;
    expect(tables, 2, "running", "begun").await;
    expect_versions(tables, [1, 1, 1], "no ring's turn").await;
    assert!(tables.may_write(1).await);

    let canary = |version, rendered, soaking| Stand {
        version,
        rendered,
        soaking,
        counted: false,
    };
    for (step, then) in [
        (Step::Advance(Ring::Canary), canary(2, false, false)),
        (Step::Soak(Ring::Canary), canary(2, false, false)),
        (Step::Rendered(Ring::Canary), canary(2, true, false)),
        (Step::Soak(Ring::Canary), canary(2, true, true)),
    ] {
        take(tables, 2, &[step]).await;
        assert_eq!(tables.rings().await[0], then, "{step:?}");
    }
    assert!(!tables.may_write(1).await, "it does not know the canary's");
    assert!(tables.may_write(2).await && tables.may_write(3).await);
    take(tables, 2, &ALL[3..]).await;
    expect(tables, 2, "done", "every ring has it").await;
    expect_versions(tables, [2, 2, 2], "every ring has it").await;
}

/// Whoever slept between what it saw and what it does.
async fn overtaken(tables: &mut impl Rollouts) {
    take(tables, 3, &[Step::Start]).await;
    let begun = tables.look_at_rollout(3).await;
    take(tables, 3, &ALL[..2]).await;
    let canary = tables.look_at_rollout(3).await;
    take(tables, 3, &[Step::Stop]).await;
    expect(tables, 3, "stopped", "by its edges").await;
    expect_versions(tables, [2, 2, 2], "it went back").await;
    for step in [Step::Advance(Ring::Canary), Step::Finish] {
        tables.take(&begun, step).await;
        expect(tables, 3, "stopped", "by whoever slept").await;
        expect_versions(tables, [2, 2, 2], "a stopped version").await;
    }
    let stopped = tables.look_at_rollout(3).await;
    take(tables, 3, &[Step::Rendered(Ring::Canary)]).await;

    tables.resume().await;
    take(tables, 3, &ALL[..1]).await;
    tables.take(&stopped, Step::Rendered(Ring::Canary)).await;
    tables.take(&canary, Step::Rendered(Ring::Canary)).await;
    assert!(!tables.rings().await[0].rendered, "by whoever slept");
    tables.take(&canary, Step::Stop).await;
    expect(tables, 3, "running", "it was another one that failed").await;
    tables.resume().await;
    expect(tables, 3, "running", "as it was").await;
    take(tables, 3, &ALL[1..]).await;
    expect(tables, 3, "done", "in the end").await;
}

/// A newer version begins from what every ring had.
async fn begun_anew(tables: &mut impl Rollouts) {
    take(tables, 4, &[Step::Start]).await;
    take(tables, 4, &ALL[..4]).await;
    expect_versions(tables, [4, 4, 3], "half way").await;
    let four = tables.look_at_rollout(4).await;
    take(tables, 5, &[Step::Start]).await;
    expect(tables, 5, "running", "a newer one").await;
    expect_versions(tables, [3, 3, 3], "what no ring has finished").await;
    assert!(!tables.rings().await[0].rendered);
    tables.take(&four, Step::Finish).await;
    tables.take(&four, Step::Advance(Ring::All)).await;
    expect(tables, 5, "running", "the older one's steps").await;
    expect_versions(tables, [3, 3, 3], "the older one's steps").await;
    let written = Ring::ORDER.map(Step::Rendered);
    take(tables, 5, &written).await;
    take(tables, 5, &ALL[..2]).await;
    take(tables, 5, &[Step::Stop]).await;
    expect_versions(tables, [3, 3, 3], "not to the unfinished one").await;
    take(tables, 6, &[Step::Start]).await;
    take(tables, 6, &written).await;
    take(tables, 6, &ALL).await;
    expect(tables, 6, "done", "after a stopped one").await;
}

/// What edges count.
async fn counted(tables: &mut impl Rollouts) {
    let edge = tables.edge(Ring::Canary).await;
    let feeds = [
        FeedName::GlobalRoutes(Ring::Canary),
        FeedName::RegionRoutes("us-east".parse().unwrap(), Ring::Canary),
    ];
    let traffic = |requests, failed, unrouted, items_refused| Traffic {
        requests,
        failed,
        unrouted,
        items_refused,
    };
    take(tables, 7, &[Step::Start]).await;
    tables
        .edge_reports(edge, ("first", 1), traffic(100, 2, 1, 3), &[])
        .await;
    take(tables, 7, &TURN_AND_BACK).await;
    // What it fared by the stopped version tells nothing of the one before.
    tables
        .edge_reports(edge, ("first", 2), traffic(200, 90, 50, 3), &[])
        .await;
    take(tables, 7, &SERVES_BY_WHAT_IT_HAD).await;
    tables
        .edge_reports(edge, ("first", 3), traffic(300, 92, 51, 3), &[])
        .await;
    tables.resume().await;
    take(tables, 7, &[Step::Advance(Ring::Canary)]).await;
    let before = traffic(100, 2, 1, 3);
    assert_eq!(tables.fares(edge).await.before, before);
    let mut newest = Vec::new();
    for feed in feeds {
        let position = tables.write(&feed, &[Item::Put("a", "1")]).await;
        newest.push((feed, position));
    }
    take(tables, 7, &[Step::Rendered(Ring::Canary)]).await;
    assert!(!tables.fares(edge).await.applied);
    let now = traffic(350, 96, 52, 4);
    tables
        .edge_reports(edge, ("first", 4), now, &newest[..1])
        .await;
    assert!(!tables.fares(edge).await.applied, "one of two feeds");
    tables.edge_reports(edge, ("first", 5), now, &newest).await;
    let fares = Fares {
        applied: true,
        restarted: false,
        before,
        after: traffic(50, 4, 1, 4),
    };
    assert_eq!(tables.fares(edge).await, fares, "since its ring's turn");
    let new = traffic(7, 1, 0, 4);
    tables.edge_reports(edge, ("second", 1), new, &[]).await;
    let fares = Fares {
        restarted: true,
        after: new,
        ..fares
    };
    assert_eq!(tables.fares(edge).await, fares, "a new process");
    let slept = tables.look_at_rollout(7).await;
    take(tables, 7, &SERVES_BY_WHAT_IT_HAD).await;
    assert!(!tables.fares(edge).await.restarted, "noted anew");
    tables.take(&slept, Step::Soak(Ring::Canary)).await;
    assert!(tables.rings().await[0].counted, "by whoever slept");
    take(tables, 7, &[Step::Soak(Ring::Canary)]).await;
    assert!(
        !tables.rings().await[0].counted,
        "its soak time begins anew"
    );
    take(tables, 7, &ALL[2..]).await;
}

/// What a late edge said last tells nothing: it may have had the version then, in another history.
async fn late(tables: &mut impl Rollouts) {
    let edge = tables.edge(Ring::Canary).await;
    let traffic = Traffic {
        requests: 100,
        failed: 2,
        unrouted: 1,
        items_refused: 9,
    };
    let unknown = Traffic {
        items_refused: traffic.items_refused,
        ..Traffic::default()
    };
    let turn = [Step::Advance(Ring::Canary)];
    tables.edge_reports(edge, ("first", 1), traffic, &[]).await;
    take(tables, 8, &[Step::Start]).await;
    take(tables, 8, &turn).await;
    let why = "it came after its ring had begun to serve";
    assert_eq!(tables.fares(edge).await.before, unknown, "{why}");

    take(tables, 8, &TURN_AND_BACK[1..]).await;
    take(tables, 8, &SERVES_BY_WHAT_IT_HAD).await;
    tables.resume().await;
    tables.edge_reports(edge, ("second", 1), traffic, &[]).await;
    take(tables, 8, &turn).await;
    let why = "a process that has started since";
    assert_eq!(tables.fares(edge).await.before, traffic, "{why}");

    take(tables, 8, &TURN_AND_BACK[1..]).await;
    tables.edge_is_late(edge).await;
    take(tables, 8, &SERVES_BY_WHAT_IT_HAD).await;
    tables.resume().await;
    tables.edge_reports(edge, ("second", 2), traffic, &[]).await;
    take(tables, 8, &turn).await;
    let why = "late when its ring began to serve";
    assert_eq!(tables.fares(edge).await.before, unknown, "{why}");

    take(tables, 8, &TURN_AND_BACK[1..]).await;
    take(tables, 8, &SERVES_BY_WHAT_IT_HAD).await;
    tables.resume().await;
    tables.edge_is_late(edge).await;
    take(tables, 8, &turn).await;
    for sequence in [3, 4] {
        let fares = tables.fares(edge).await;
        let is = (fares.before, fares.after);
        assert_eq!(is, (Traffic::default(), traffic), "nothing to compare with");
        tables
            .edge_reports(edge, ("second", sequence), traffic, &[])
            .await;
    }
    take(tables, 8, &ALL[1..]).await;
}

/// What edges have applied, and fared by, is of another history.
async fn in_a_new_epoch(tables: &mut impl Rollouts) {
    let written = Ring::ORDER.map(Step::Rendered);
    take(tables, 9, &[Step::Start]).await;
    take(tables, 9, &ALL[..5]).await;
    let slept = tables.look_at_rollout(9).await;
    tables.restored().await;
    let overtaken = [
        Step::Soak(Ring::Region),
        Step::Advance(Ring::All),
        Step::Finish,
    ];
    for step in overtaken {
        tables.take(&slept, step).await;
        expect(tables, 9, "running", "decided before").await;
        expect_versions(tables, [9, 9, 8], "decided before").await;
        assert!(!tables.rings().await[1].soaking, "decided before");
    }
    let seen = tables.look_at_rollout(9).await;
    tables.take(&seen, Step::BeginAnew).await;
    expect(tables, 9, "running", "with the first ring").await;
    expect_versions(tables, [8, 8, 8], "with the first ring").await;
    let stands = |rings: Vec<Stand>| rings.iter().any(|ring| ring.rendered || ring.soaking);
    assert!(!stands(tables.rings().await), "nothing is of this epoch");
    take(tables, 9, &written).await;
    tables.take(&seen, Step::BeginAnew).await;
    assert!(tables.rings().await[0].rendered, "by whoever slept");
    take(tables, 9, &ALL).await;
    expect(tables, 9, "done", "in the end").await;

    tables.restored().await;
    take(tables, 9, &[Step::BeginAnew]).await;
    expect(tables, 9, "done", "every ring has it").await;
    expect_versions(tables, [9, 9, 9], "every ring has it").await;
    assert!(!stands(tables.rings().await), "nothing is of this epoch");
    take(tables, 9, &written).await;
}
