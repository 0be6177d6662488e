//! A document that is well-formed, digested, signed, as large as a region's may be, and of endpoints that are dead: a
//! million of them. It costs an edge memory, of which there is a bound, and its users nothing. Without
//! `RAILHEAD_POISON=full` it is a tenth of it, and nothing of what is more than a region may have.

#![allow(clippy::print_stdout, reason = "what was measured is told to people")]

use std::time::{Duration, Instant};

use domain::{id::ServiceId, ring::Ring};
use protocol::{
    feed::{Commit, FeedName, digest::Rendered, reader::Limits},
    item::ENDPOINTS_MAX,
};
use testkit::poison::{Set, endpoint, service_item};

use super::{
    is_full,
    trial::{REGION, Trial, within},
    users::Users,
};

const MILLION: usize = 1_000_000;
const MIB: u64 = 1 << 20;
/// Of a whole document: it is received, verified, stored, compiled, and each endpoint has had its time to be confirmed.
const TAKEN_WITHIN: Duration = Duration::from_secs(90);
/// What an edge may have at most while a million endpoints take the place of a million others: half as much again as
/// was measured (docs/PERFORMANCE.md).
const RESIDENT_MAX: u64 = 1_300 * MIB;
/// Three times what it has without any.
const RESIDENT_WITHOUT: u64 = 100 * MIB;
/// Who asks meanwhile and waits longer has failed, as under any other load.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Services of the crowd: those that there are, and so many more that they have all endpoints.
struct Crowd(Vec<ServiceId>);

impl Crowd {
    fn new(trial: &Trial, endpoints: usize) -> Self {
        let known = trial.services.iter().copied();
        let new = std::iter::repeat_with(ServiceId::new);
        Self(known.chain(new).take(endpoints / ENDPOINTS_MAX).collect())
    }

    /// All of them, with new endpoints that are dead. Those that there are have their living one as well.
    fn items(&self, trial: &Trial) -> Vec<(String, Rendered)> {
        let dead = || endpoint(trial.node(), ([192, 0, 2, 1], 1).into());
        let living = trial.instances.iter().map(|instance| Some(instance.spec));
        let living = living.chain(std::iter::repeat(None));
        let services = self.0.iter().zip(living);
        let item = |(service, living): (&ServiceId, Option<_>)| {
            let all = living.into_iter().chain(std::iter::repeat_with(dead));
            let (id, item) = service_item(*service, all.take(ENDPOINTS_MAX).collect());
            (id, Rendered::of(&item).unwrap())
        };
        services.map(item).collect()
    }

    /// As the region's feed brings it.
    fn set(&self, trial: &Trial) -> (Set, Commit, Vec<u8>) {
        let items = self.items(trial);
        trial.forge(REGION, |forge| {
            let set = forge.rendered_difference(items, &[]);
            let (commit, lines) = (forge.commit(&set), forge.lines(&set));
            (set, commit, lines.into_bytes())
        })
    }
}

fn document_max() -> usize {
    let region = FeedName::RegionRoutes("us-east".parse().unwrap(), Ring::All);
    Limits::of(&region).total_bytes
}

async fn endpoints(trial: &Trial) -> usize {
    let metrics = trial.edge.get("/metrics").await;
    let mut lines = metrics.lines();
    let count =
        lines.find_map(|line| line.strip_prefix("railhead_edge_routes{kind=\"endpoints\"} "));
    count.and_then(|count| count.parse().ok()).expect(&metrics)
}

/// Says what it has, for docs/PERFORMANCE.md.
fn told(trial: &Trial, when: &str) -> u64 {
    let [now, peak] = trial.edge.resident_bytes();
    println!("{when}: {} MiB resident, {} at most", now / MIB, peak / MIB);
    peak
}

async fn more_is_refused(trial: &mut Trial) {
    let (_, commit, bytes) = Crowd::new(trial, MILLION * 11 / 10).set(trial);
    assert!(bytes.len() > document_max(), "{} bytes", bytes.len());
    let line = trial.send(REGION, bytes).await;
    assert!(within(TAKEN_WITHIN, async || line.is_closed()).await);
    assert!(!trial.follows(&commit));
    assert_eq!(endpoints(trial).await, MILLION);
    assert_eq!(trial.is_unharmed().await, Ok(()), "more is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_dead_endpoints_cost_memory_and_no_user_anything() {
    let mut trial = Trial::start(1).await;
    told(&trial, "before");
    let dead = if is_full() { MILLION } else { MILLION / 10 };
    let crowd = Crowd::new(&trial, dead);
    let users = Users::start(trial.ca(), trial.edge.http);
    for when in ["a million", "another million in its place"] {
        let (set, commit, bytes) = crowd.set(&trial);
        assert!(bytes.len() < document_max(), "{} bytes", bytes.len());
        let begun = Instant::now();
        trial.send(REGION, bytes).await;
        let is_taken = within(TAKEN_WITHIN, async || trial.follows(&commit)).await;
        assert!(is_taken, "{when}: {:?}", users.seen());
        println!(
            "{when}: followed after {:?}, {:?}",
            begun.elapsed(),
            users.seen()
        );
        trial.publish(REGION, &set);
        assert_eq!(endpoints(&trial).await, dead);
        assert_eq!(trial.is_unharmed().await, Ok(()), "{when}");
        told(&trial, when);
    }

    if is_full() {
        more_is_refused(&mut trial).await;
    }

    trial.patience = TAKEN_WITHIN;
    assert_eq!(trial.recovers(REGION).await, Ok(()));
    assert_eq!(endpoints(&trial).await, trial.services.len());
    assert_eq!(trial.is_unharmed().await, Ok(()), "after it");
    let peak = told(&trial, "after it");
    let bound = RESIDENT_WITHOUT + (RESIDENT_MAX - RESIDENT_WITHOUT) / (MILLION / dead) as u64;
    assert!(peak < bound, "{} MiB", peak / MIB);
    let seen = users.end();
    println!("{seen:?}");
    assert!(seen.requests > 100 && seen.failed.is_empty(), "{seen:?}");
    assert!(seen.longest < ANSWERED_WITHIN, "{seen:?}");
}
