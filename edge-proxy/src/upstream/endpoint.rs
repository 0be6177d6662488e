//! One instance's address with what this edge knows of it. Requests read it without a lock that
//! anyone holds across an await; confirmations and probes write it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::item;

/// Failures in a row that eject (BEHAVIOUR §2, breaker).
const EJECT_AFTER: u32 = 3;
/// How long an ejection lasts before one request may try again.
const EJECTED_FOR: Duration = Duration::from_secs(30);
/// Failed probes in a row that take an endpoint out.
const DOWN_AFTER: u32 = 3;

/// What the node's agent said about "this instance holds that address".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// Not asked, or nobody answered yet.
    Unknown,
    /// Yes.
    Yes,
    /// No.
    No,
}

/// What our own probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// The last probe passed, or fewer than three in a row failed since.
    Up,
    /// Three in a row failed, or nothing listens.
    Down,
}

/// How an attempt to use an endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: nothing listens there now.
    Connect,
    /// The connection broke, or no answer came in time.
    Answer,
}

/// An endpoint and its state.
#[derive(Debug)]
pub struct Endpoint {
    /// Instance, node and address.
    pub spec: item::Endpoint,
    known_since: Instant,
    in_flight: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    confirmed: Confirmed,
    ask: bool,
    health: Health,
    failed_probes: u32,
    failures: u32,
    ejected_until: Option<Instant>,
}

impl Endpoint {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn new(spec: item::Endpoint) -> Self {
        Self {
            spec,
            known_since: Instant::now(),
            in_flight: AtomicUsize::new(0),
            state: Mutex::new(State {
                confirmed: Confirmed::Unknown,
                ask: true,
                health: Health::Unknown,
                failed_probes: 0,
                failures: 0,
                ejected_until: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may go there: confirmed, healthy, and not ejected.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        let state = self.state();
        state.confirmed == Confirmed::Yes
            && state.health == Health::Up
            && state.ejected_until.is_none_or(|until| now >= until)
    }

    /// Whether it is ejected now.
    #[must_use]
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.state().ejected_until.is_some_and(|until| now < until)
    }

    /// What its agent said.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        self.state().confirmed
    }

    /// What our probes say.
    #[must_use]
    pub fn health(&self) -> Health {
        self.state().health
    }

    /// Whether its agent shall be asked: at first, after a failed connection, and while it says no.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        let state = self.state();
        state.ask || state.confirmed != Confirmed::Yes
    }

    /// Whether it is known what may be done with it: its agent said yes and it was probed, or it had
    /// `patience` to get that far.
    #[must_use]
    pub fn is_judged(&self, patience: Duration) -> bool {
        let judged = {
            let state = self.state();
            state.confirmed == Confirmed::Yes && state.health != Health::Unknown
        };
        judged || self.known_since.elapsed() > patience
    }

    /// Its agent shall be asked again; until it answers, its last answer stands.
    pub fn ask_again(&self) {
        self.state().ask = true;
    }

    /// An answer from before this edge's start: it stands until the agent answers again.
    pub fn remember(&self) {
        self.state().confirmed = Confirmed::Yes;
    }

    /// Its agent answered. True when that changed something.
    pub fn confirm(&self, holds: bool) -> bool {
        let answer = if holds { Confirmed::Yes } else { Confirmed::No };
        let mut state = self.state();
        state.ask = false;
        std::mem::replace(&mut state.confirmed, answer) != answer
    }

    /// Our probe passed. True when it came up by that.
    pub fn probe_succeeded(&self) -> bool {
        let mut state = self.state();
        state.failed_probes = 0;
        let came_up = state.health != Health::Up;
        state.health = Health::Up;
        if came_up {
            state.failures = 0;
            state.ejected_until = None;
        }
        came_up
    }

    /// Our probe failed. True when it went down by that.
    pub fn probe_failed(&self, failure: Failure) -> bool {
        let mut state = self.state();
        state.failed_probes += 1;
        let down = failure == Failure::Connect || state.failed_probes >= DOWN_AFTER;
        let went_down = down && state.health == Health::Up;
        if down {
            state.health = Health::Down;
        }
        went_down
    }

    /// A request was answered: what failed before does not count any more.
    pub fn request_succeeded(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.ejected_until = None;
    }

    /// A request failed. `may_eject` is false when too many of its service are ejected already.
    pub fn request_failed(&self, failure: Failure, may_eject: bool, now: Instant) {
        let mut state = self.state();
        state.failures += 1;
        if failure == Failure::Connect {
            state.health = Health::Down;
        }
        if state.failures >= EJECT_AFTER && may_eject {
            state.ejected_until = Some(now + EJECTED_FOR);
        }
    }

    /// Half-open: the one who tries after an ejection pushes it out for the others.
    pub fn begin(&self, now: Instant) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if state.ejected_until.is_some_and(|until| now >= until) {
            state.ejected_until = Some(now + EJECTED_FOR);
        }
    }

    /// A request that was begun has ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that run there now, from this edge.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{InstanceId, NodeId};

    use super::*;

    fn endpoint() -> Endpoint {
        let endpoint = Endpoint::new(item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], 80).into(),
        });
        endpoint.confirm(true);
        endpoint.probe_succeeded();
        endpoint
    }

    #[test]
    fn usable_needs_confirmation_and_a_passed_probe() {
        let now = Instant::now();
        let fresh = Endpoint::new(endpoint().spec);
        assert!(!fresh.is_usable(now));
        fresh.confirm(true);
        assert!(!fresh.is_usable(now));
        fresh.probe_succeeded();
        assert!(fresh.is_usable(now));
        fresh.confirm(false);
        assert!(!fresh.is_usable(now));
    }

    #[test]
    fn three_failures_eject_for_thirty_seconds_then_one_may_try() {
        let (endpoint, now) = (endpoint(), Instant::now());
        for _ in 0..2 {
            endpoint.request_failed(Failure::Answer, true, now);
        }
        assert!(endpoint.is_usable(now));
        endpoint.request_failed(Failure::Answer, true, now);
        assert!(endpoint.is_ejected(now) && !endpoint.is_usable(now));
        let later = now + EJECTED_FOR;
        assert!(endpoint.is_usable(later));
        endpoint.begin(later);
        assert!(!endpoint.is_usable(later), "half-open: one request only");
        endpoint.request_succeeded();
        assert!(endpoint.is_usable(later));
    }

    #[test]
    fn a_refused_connection_takes_it_out_at_once_and_a_probe_brings_it_back() {
        let (endpoint, now) = (endpoint(), Instant::now());
        endpoint.request_failed(Failure::Connect, false, now);
        assert!(!endpoint.is_usable(now));
        assert!(endpoint.probe_succeeded());
        assert!(endpoint.is_usable(now));
    }

    #[test]
    fn slow_probes_take_it_out_after_three() {
        let endpoint = endpoint();
        assert!(!endpoint.probe_failed(Failure::Answer));
        assert!(!endpoint.probe_failed(Failure::Answer));
        assert!(endpoint.probe_failed(Failure::Answer));
    }
}
