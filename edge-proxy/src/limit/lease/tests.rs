//! Edges with leases of one bucket, simulated: what they let through together is what one edge would have.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;
/// Of the simulated clock.
const STEP: u64 = 500;

/// A limit that several edges share.
#[derive(Debug, Clone, Copy)]
struct Limit {
    limit: u32,
    window: u64,
    edges: u32,
}

impl Limit {
    fn interval(self) -> f64 {
        self.window as f64 / f64::from(self.limit)
    }
}

/// As `lease.lua` keeps it.
struct Bucket {
    of: Limit,
    free: f64,
}

impl Bucket {
    fn answer(&mut self, now: u64, ask: Ask) -> Grant {
        let (now, interval) = (now as f64, self.of.interval());
        let limit = f64::from(self.of.limit);
        let free = self.free.max(now) + ask.spent as f64 * interval;
        let debt = (1.0 + f64::from(self.of.edges)) * limit * interval;
        let free = free.min(now + debt).max(now);
        let level = (limit * interval - (free - now)) / interval;
        let (tokens, wait) = if level >= 1.0 {
            let fair = (level / f64::from(self.of.edges)).floor().max(1.0);
            (f64::from(ask.want).min(fair), 0.0)
        } else {
            (0.0, ((1.0 - level) * interval).ceil())
        };
        self.free = free + tokens * interval;
        Grant {
            tokens: tokens as u32,
            wait: wait as u64,
            remaining: (level - tokens).floor().max(0.0) as u32,
        }
    }
}

/// What an edge lets through by itself: its part of the limit, as `governor` counts.
struct Share {
    of: Limit,
    free: f64,
}

impl Share {
    fn admits(&mut self, now: u64) -> bool {
        let cost = f64::from(self.of.edges.min(self.of.limit)) * self.of.interval();
        let next = self.free.max(now as f64) + cost;
        let fits = next - now as f64 <= f64::from(self.of.limit) * self.of.interval();
        if fits {
            self.free = next;
        }
        fits
    }
}

struct Edge {
    lease: Lease,
    share: Share,
    round_trip: u64,
    /// Requests in a second.
    rate: u64,
    /// Of a request, in millionths.
    pending: u64,
    asks: VecDeque<(u64, Ask)>,
    answers: VecDeque<(u64, Grant)>,
}

struct World {
    of: Limit,
    bucket: Bucket,
    edges: Vec<Edge>,
    now: u64,
    demand: u64,
    admitted: u64,
}

impl World {
    fn new(of: Limit, edges: &[(u64, u64)]) -> Self {
        let edge = |(rate, round_trip): &(u64, u64)| Edge {
            lease: Lease::default(),
            share: Share { of, free: 0.0 },
            round_trip: *round_trip,
            rate: *rate,
            pending: 0,
            asks: VecDeque::new(),
            answers: VecDeque::new(),
        };
        Self {
            of,
            bucket: Bucket { of, free: 0.0 },
            edges: edges.iter().map(edge).collect(),
            now: SECOND,
            demand: 0,
            admitted: 0,
        }
    }

    fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while self.now < end {
            self.now += STEP;
            for edge in &mut self.edges {
                edge.hear(self.now, &mut self.bucket);
                edge.pending += edge.rate * STEP;
                while edge.pending >= SECOND {
                    edge.pending -= SECOND;
                    self.demand += 1;
                    self.admitted += u64::from(edge.request(self.now, self.of));
                }
            }
        }
    }

    /// What one edge would have let through: all that was asked, or what the bucket held and got.
    fn allowed(&self) -> u64 {
        let elapsed = (self.now - SECOND) as f64;
        let refilled = elapsed / self.of.interval();
        self.demand.min(u64::from(self.of.limit) + refilled as u64)
    }
}

impl Edge {
    fn request(&mut self, now: u64, of: Limit) -> bool {
        let passes = match self.lease.take(now) {
            Taken::Token { .. } => {
                self.share.admits(now);
                true
            }
            Taken::Closed { .. } => false,
            Taken::Unknown => {
                let passes = self.share.admits(now);
                if passes {
                    self.lease.owe();
                }
                passes
            }
        };
        if let Some(ask) = self.lease.ask(now, of.limit) {
            self.asks.push_back((now + self.round_trip / 2, ask));
        }
        passes
    }

    fn hear(&mut self, now: u64, bucket: &mut Bucket) {
        while let Some(ask) = due(&mut self.asks, now) {
            let grant = bucket.answer(now, ask);
            self.answers.push_back((now + self.round_trip / 2, grant));
        }
        while let Some(grant) = due(&mut self.answers, now) {
            self.lease.granted(now, bucket.of.window, grant);
        }
    }
}

/// The first of a queue, once its time has come.
fn due<T>(queue: &mut VecDeque<(u64, T)>, now: u64) -> Option<T> {
    let (at, _) = queue.front()?;
    if *at > now {
        return None;
    }
    queue.pop_front().map(|(_, first)| first)
}

fn limit(limit: u32, window: u64) -> Limit {
    Limit {
        limit,
        window,
        edges: 3,
    }
}

#[test]
fn three_edges_stay_within_ten_percent_of_one() {
    let near = [2_000, 2_000, 2_000];
    let far = [1_000, 40_000, 120_000];
    for (of, rates, seconds) in [
        (limit(100, SECOND), [100, 100, 100], 10),
        (limit(100, SECOND), [30, 30, 30], 10),
        (limit(100, SECOND), [95, 0, 0], 10),
        (limit(1_000, SECOND), [2_000, 2_000, 2_000], 5),
        (limit(1_000, 60 * SECOND), [200, 1, 1], 60),
        (limit(20, 60 * SECOND), [5, 5, 5], 120),
        (limit(20, 60 * SECOND), [20, 0, 0], 60),
    ] {
        for round_trips in [near, far] {
            let edges: Vec<_> = rates.into_iter().zip(round_trips).collect();
            let mut world = World::new(of, &edges);
            world.run(seconds * SECOND);
            let (admitted, allowed) = (world.admitted, world.allowed());
            let error = (admitted as f64 - allowed as f64).abs() / allowed as f64;
            assert!(
                error <= 0.1,
                "{of:?} {edges:?}: {admitted} of {allowed} allowed"
            );
        }
    }
}

#[test]
fn what_is_not_spent_goes_back() {
    let mut lease = Lease::default();
    assert_eq!(lease.take(1), Taken::Unknown);
    lease.owe();
    assert_eq!(lease.ask(1, 10), Some(Ask { spent: 1, want: 1 }));
    let grant = |tokens| Grant {
        tokens,
        wait: 0,
        remaining: 5,
    };
    lease.granted(2_000, SECOND, grant(4));
    assert_eq!(lease.take(3_000), Taken::Token { remaining: 8 });
    assert_eq!(lease.ask(3_000, 10), None, "there is enough");
    assert_eq!(lease.take(3 * SECOND), Taken::Unknown, "they are void");
    let ask = lease.ask(3 * SECOND, 10).unwrap();
    assert_eq!(ask.spent, -3);
    lease.lost(ask);
    lease.owe();
    assert_eq!(lease.ask(3 * SECOND, 10).unwrap().spent, -2);
}

#[test]
fn where_nothing_is_left_nobody_asks_until_there_may_be() {
    let mut lease = Lease::default();
    lease.take(1);
    lease.ask(1, 10).unwrap();
    lease.take(2);
    assert_eq!(lease.ask(2, 10), None, "an answer is on its way");
    let none = Grant {
        tokens: 0,
        wait: 300_000,
        remaining: 0,
    };
    lease.granted(1_000, SECOND, none);
    assert_eq!(lease.take(2_000), Taken::Closed { wait: 299_000 });
    assert_eq!(lease.ask(2_000, 10), None);
    assert_eq!(lease.take(301_000), Taken::Unknown);
    assert!(lease.ask(301_000, 10).is_some());
}

#[test]
fn what_others_give_back_is_asked_for_meanwhile() {
    let mut lease = Lease::default();
    lease.take(1);
    lease.ask(1, 10).unwrap();
    let none = Grant {
        tokens: 0,
        wait: 60 * SECOND,
        remaining: 0,
    };
    lease.granted(1_000, 60 * SECOND, none);
    let later = 2 * SECOND;
    let closed = Taken::Closed {
        wait: 58 * SECOND + 1_000,
    };
    assert_eq!(lease.take(later), closed);
    assert!(lease.ask(later, 10).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The bucket, what it got, and what each edge could spend on credit before it knew: never more.
    #[test]
    fn never_more_than_the_limit_and_what_credit_allows(
        (size, seconds) in (1..200_u32, 1..20_u64),
        edges in prop::collection::vec((0..300_u64, 500..200_000_u64), 1..5),
    ) {
        let count = u32::try_from(edges.len()).unwrap();
        let of = Limit { limit: size, window: seconds * SECOND, edges: count };
        let mut world = World::new(of, &edges);
        for _ in 0..4 {
            world.run(seconds * SECOND / 2);
            let elapsed = (world.now - SECOND) as f64;
            let refilled = (elapsed / of.interval()).ceil() as u64;
            let credit = u64::from(size.max(count)) + 2 * u64::from(count);
            let most = u64::from(size) + refilled + credit;
            prop_assert!(world.admitted <= most, "{} of at most {most}", world.admitted);
        }
    }

    /// A lease gives out what it was granted, and no more.
    #[test]
    fn no_more_tokens_are_spent_than_were_granted(
        events in prop::collection::vec((0..3_u8, 0..400_000_u64, 0..20_u32), 1..200),
    ) {
        let (mut lease, mut now) = (Lease::default(), 1);
        let (mut granted, mut spent, mut back) = (0_i64, 0_i64, 0_i64);
        for (what, after, tokens) in events {
            now += after;
            match what {
                0 => {
                    lease.granted(now, SECOND, Grant { tokens, wait: 1, remaining: 0 });
                    granted += i64::from(tokens);
                }
                1 => {
                    if let Some(ask) = lease.ask(now, 100) {
                        back -= ask.spent;
                    }
                }
                _ => spent += i64::from(matches!(lease.take(now), Taken::Token { .. })),
            }
            prop_assert!(spent + back <= granted, "{spent} spent and {back} given back of {granted}");
        }
    }
}
