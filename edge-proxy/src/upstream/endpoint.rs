//! One instance's address with what this edge knows of it: atomics, so that a request that reads
//! it waits for no confirmation and no probe that writes it.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use protocol::item;

use super::{
    answer::Answer,
    turn::{Turn, millis, start_clock},
};

pub use super::verdict::{Confirmed, Failure, Health};

/// Failures in a row that eject (BEHAVIOUR §2, breaker).
const EJECT_AFTER: u32 = 3;
/// How long an ejection lasts before one request may try again.
const EJECTED_FOR: Duration = Duration::from_secs(30);
/// Failed probes in a row that take an endpoint out.
const DOWN_AFTER: u32 = 3;
/// A probe that takes longer has taken up a place for long.
const SLOW_PROBE: Duration = Duration::from_millis(500);

/// An endpoint and its state. Each field is judged by itself: none promises anything about another.
#[derive(Debug)]
pub struct Endpoint {
    /// Instance, node and address.
    pub spec: item::Endpoint,
    known_since: Instant,
    in_flight: AtomicUsize,
    /// Its agent's.
    answer: Answer,
    /// [`Health`].
    health: AtomicU8,
    failed_probes: AtomicU32,
    /// Under way also while it waits for a place.
    probing: Turn,
    /// Its last probe took long.
    slow: AtomicBool,
    failures: AtomicU32,
    /// Milliseconds as of [`millis`]: from when on nothing listened any more where something did; else 0.
    refused_since: AtomicU64,
    /// Milliseconds as of [`millis`]; 0 when not ejected.
    ejected_until: AtomicU64,
}

impl Endpoint {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn new(spec: item::Endpoint) -> Self {
        Self::known_since(spec, Instant::now())
    }

    /// Likewise, with the moment from which on it is judged.
    #[must_use]
    pub fn known_since(spec: item::Endpoint, now: Instant) -> Self {
        start_clock();
        Self {
            spec,
            known_since: now,
            in_flight: AtomicUsize::new(0),
            answer: Answer::default(),
            health: AtomicU8::new(Health::Unknown as u8),
            failed_probes: AtomicU32::new(0),
            probing: Turn::default(),
            slow: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            refused_since: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
        }
    }

    /// True when it is not being probed and was not within `interval`; the caller probes it now.
    pub fn take_probe(&self, interval: Duration, now: Instant) -> bool {
        self.probing.take(interval, now)
    }

    /// A probe has ended after so long.
    pub fn probe_ended(&self, took: Duration) {
        self.slow.store(took > SLOW_PROBE, Ordering::Relaxed);
        self.probing.ended();
    }

    /// Whether its last probe let others wait.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// True when its agent shall be asked, is not being asked and was not within `interval`; the
    /// caller asks it now.
    pub fn take_question(&self, interval: Duration, now: Instant) -> bool {
        self.answer.take_question(self.is_up(), interval, now)
    }

    /// A question has ended, with or without an answer.
    pub fn question_ended(&self) {
        self.answer.question_ended();
    }

    /// Whether a request may go there: confirmed, healthy, and not ejected.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        self.confirmed() == Confirmed::Yes && self.is_up() && !self.is_ejected(now)
    }

    /// Whether it is ejected now.
    #[must_use]
    pub fn is_ejected(&self, now: Instant) -> bool {
        millis(now) < self.ejected_until.load(Ordering::Relaxed)
    }

    /// What its agent said.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        self.answer.last()
    }

    /// Whether it is probed: its agent's last answer was yes, also while that must be said again.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        matches!(self.confirmed(), Confirmed::Yes | Confirmed::Doubted)
    }

    /// What our probes say.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::of(self.health.load(Ordering::Relaxed))
    }

    fn is_up(&self) -> bool {
        self.health() == Health::Up
    }

    fn set_health(&self, health: Health) -> bool {
        self.health.swap(health as u8, Ordering::Relaxed) != health as u8
    }

    /// Whether its agent shall be asked: at first, after a failed connection, and while it says no.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        self.answer.is_wanted(self.is_up())
    }

    /// Whether it is known what may be done with it: its agent said yes and it was probed, or it had
    /// `patience` to get that far.
    #[must_use]
    pub fn is_judged(&self, patience: Duration, now: Instant) -> bool {
        let judged = self.is_probed() && !self.awaits_answer();
        judged || now.saturating_duration_since(self.known_since) > patience
    }

    /// Whether its agent, or after it our probe, still owes the first answer, or its agent another one.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        match self.confirmed() {
            Confirmed::Unknown => true,
            Confirmed::Yes => self.health() == Health::Unknown,
            Confirmed::Doubted => self.is_up(),
            Confirmed::No => false,
        }
    }

    /// Whether its agent has said yes, and our first probe has not ended.
    #[must_use]
    pub fn awaits_probe(&self) -> bool {
        self.confirmed() == Confirmed::Yes && self.health() == Health::Unknown
    }

    /// Whether something listened there until less than `patience` ago, and its agent does not say that it is gone.
    #[must_use]
    pub fn may_come_back(&self, patience: Duration, now: Instant) -> bool {
        let since = self.refused_since.load(Ordering::Relaxed);
        let lately = u128::from(millis(now).saturating_sub(since)) < patience.as_millis();
        since > 0 && lately && self.is_probed()
    }

    /// Its agent shall be asked again; until it answers, its last answer stands.
    pub fn ask_again(&self) {
        self.answer.ask_again();
    }

    /// An answer from before this edge's start: it stands until the agent answers again.
    pub fn remember(&self) {
        self.answer.remember();
    }

    /// Its agent answered. True when that changed something.
    pub fn confirm(&self, holds: bool) -> bool {
        self.answer.came(holds)
    }

    /// Its agent did not answer. True when that changed something.
    pub fn unanswered(&self) -> bool {
        self.answer.stayed_away()
    }

    /// Our probe passed. True when it came up by that.
    pub fn probe_succeeded(&self) -> bool {
        self.failed_probes.store(0, Ordering::Relaxed);
        let came_up = self.set_health(Health::Up);
        self.refused_since.store(0, Ordering::Relaxed);
        if came_up {
            self.answer.listens_again();
            self.request_succeeded();
        }
        came_up
    }

    /// Our probe failed. True when it went down by that.
    pub fn probe_failed(&self, failure: Failure) -> bool {
        let failed = self.failed_probes.fetch_add(1, Ordering::Relaxed) + 1;
        let was_up = self.is_up();
        if failure == Failure::Connect {
            return self.refused(Instant::now());
        }
        failed >= DOWN_AFTER && self.set_health(Health::Down) && was_up
    }

    /// A request was answered: what failed before does not count any more.
    pub fn request_succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.store(0, Ordering::Relaxed);
    }

    /// A request failed. `may_eject` is false when too many of its service are ejected already.
    pub fn request_failed(&self, failure: Failure, may_eject: bool, now: Instant) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failure == Failure::Connect {
            self.refused(now);
        }
        if failures >= EJECT_AFTER && may_eject {
            self.eject(now);
        }
    }

    /// Nothing listens there. True when something did.
    fn refused(&self, now: Instant) -> bool {
        let before = self.health.swap(Health::Down as u8, Ordering::Relaxed);
        self.answer.doubt();
        let was_up = before == Health::Up as u8;
        if was_up {
            self.refused_since.store(millis(now), Ordering::Relaxed);
        }
        was_up
    }

    fn eject(&self, now: Instant) {
        let until = millis(now + EJECTED_FOR);
        self.ejected_until.store(until, Ordering::Relaxed);
    }

    /// Half-open: the one who tries after an ejection pushes it out for the others.
    pub fn begin(&self, now: Instant) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if self.ejected_until.load(Ordering::Relaxed) > 0 && !self.is_ejected(now) {
            self.eject(now);
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
    fn a_refused_connection_takes_it_out_until_it_is_up_and_its_agent_says_yes_again() {
        let now = Instant::now();
        let by_request = |e: &Endpoint| e.request_failed(Failure::Connect, false, now);
        let by_probe = |e: &Endpoint| assert!(e.probe_failed(Failure::Connect));
        for refuse in [&by_request as &dyn Fn(&Endpoint), &by_probe] {
            let endpoint = endpoint();
            refuse(&endpoint);
            assert!(!endpoint.is_usable(now) && endpoint.wants_confirmation());
            assert!(endpoint.is_probed() && endpoint.is_judged(EJECTED_FOR, now));
            assert!(endpoint.probe_succeeded());
            assert!(!endpoint.is_usable(now) && endpoint.awaits_answer());
            assert!(!endpoint.is_judged(EJECTED_FOR, now));
            assert!(endpoint.take_question(EJECTED_FOR, now));
            endpoint.confirm(true);
            assert!(endpoint.is_usable(now));
        }
    }

    #[test]
    fn a_refused_one_may_come_back_for_a_while_unless_its_agent_says_that_it_is_gone() {
        let (refused, hangs) = (endpoint(), endpoint());
        let (patience, now) = (EJECTED_FOR, Instant::now());
        let later = now + patience;
        assert!(!refused.may_come_back(patience, now), "it is up");
        for at in [now, now + patience / 2] {
            refused.request_failed(Failure::Connect, false, at);
            assert!(refused.may_come_back(patience, at));
        }
        assert!(!refused.may_come_back(patience, later));
        refused.probe_succeeded();
        refused.request_failed(Failure::Connect, false, later);
        assert!(refused.may_come_back(patience, later));
        refused.confirm(false);
        assert!(!refused.may_come_back(patience, later));
        for _ in 0..DOWN_AFTER {
            hangs.probe_failed(Failure::Answer);
        }
        assert!(!hangs.may_come_back(patience, now));
    }

    #[test]
    fn it_is_probed_at_once_and_then_once_an_interval() {
        let (endpoint, now) = (Endpoint::new(endpoint().spec), Instant::now());
        let second = Duration::from_secs(1);
        assert!(endpoint.take_probe(second, now));
        let later = now + second;
        assert!(!endpoint.take_probe(second, later), "it is being probed");
        endpoint.probe_ended(second);
        assert!(endpoint.is_slow());
        assert!(!endpoint.take_probe(second, now));
        assert!(endpoint.take_probe(second, later));
        endpoint.probe_ended(Duration::from_millis(5));
        assert!(!endpoint.is_slow());
        assert!(endpoint.take_question(second, now));
        let later = now + second;
        assert!(!endpoint.take_question(second, later), "it is being asked");
        endpoint.question_ended();
        assert!(endpoint.take_question(second, later));
        endpoint.confirm(true);
        endpoint.question_ended();
        assert!(!endpoint.take_question(second, later + second));
    }

    #[test]
    fn slow_probes_take_it_out_after_three() {
        let endpoint = endpoint();
        assert!(!endpoint.probe_failed(Failure::Answer));
        assert!(!endpoint.probe_failed(Failure::Answer));
        assert!(endpoint.probe_failed(Failure::Answer));
    }
}
