//! One instance's address with what this edge knows of it: atomics, so that a request that reads
//! it waits for no confirmation and no probe that writes it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use domain::{id::InstanceId, spec::Breaker};
use protocol::item;

use super::{
    circuit::Circuit,
    turn::{Turn, millis, start_clock},
};

pub use super::verdict::{Confirmed, Failure, Health, Verdict};

/// Failed probes in a row that take an endpoint out.
const DOWN_AFTER: u32 = 3;
/// A probe that takes longer has taken up a place for long.
const SLOW_PROBE: Duration = Duration::from_millis(500);

/// An endpoint and its state. Beside the verdict, each field is judged by itself: none promises anything about another.
#[derive(Debug)]
pub struct Endpoint {
    /// Instance, node and address.
    pub spec: item::Endpoint,
    known_since: Instant,
    in_flight: AtomicUsize,
    /// [`Verdict`].
    verdict: AtomicU64,
    /// Its agent.
    asking: Turn,
    failed_probes: AtomicU32,
    /// Under way also while it waits for a place.
    probing: Turn,
    /// Its last probe took long.
    slow: AtomicBool,
    /// [`Circuit`].
    circuit: AtomicU64,
    /// Milliseconds as of [`millis`]: from when on nothing listened any more where something did, or may have; else 0.
    refused_since: AtomicU64,
}

/// [`Endpoint::tag`].
#[must_use]
pub const fn tag_of(instance: InstanceId) -> u64 {
    let (_, random) = instance.uuid().as_u64_pair();
    random
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
            verdict: AtomicU64::new(Verdict::default().word()),
            asking: Turn::default(),
            failed_probes: AtomicU32::new(0),
            probing: Turn::default(),
            slow: AtomicBool::new(false),
            circuit: AtomicU64::new(Circuit::default().word()),
            refused_since: AtomicU64::new(0),
        }
    }

    /// Names it to users, and to Pingora's pool of connections: what is random of its id.
    #[must_use]
    pub const fn tag(&self) -> u64 {
        tag_of(self.spec.instance_id)
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

    /// What is known when its agent is asked now: none when it need not be, is being asked or was within `interval`.
    #[must_use]
    pub fn take_question(&self, interval: Duration, now: Instant) -> Option<Verdict> {
        let asked = self.verdict();
        (asked.wants_answer() && self.asking.take(interval, now)).then_some(asked)
    }

    /// A question has ended, with or without an answer.
    pub fn question_ended(&self) {
        self.asking.ended();
    }

    /// All that is known of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.verdict.load(Ordering::Relaxed))
    }

    /// Before, and after.
    fn change(&self, to: impl Fn(Verdict) -> Verdict) -> (Verdict, Verdict) {
        let change = |word| Some(to(Verdict::of(word)).word());
        let (write, read) = (Ordering::Relaxed, Ordering::Relaxed);
        let before = self.verdict.fetch_update(write, read, change);
        let before = Verdict::of(before.unwrap_or_else(|unchanged| unchanged));
        (before, to(before))
    }

    /// Whether a request may go there: confirmed, healthy, and not ejected.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.verdict().is_usable() && !self.is_ejected()
    }

    /// Whether it is left out, but for a request that tries it.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.circuit().is_ejected()
    }

    fn circuit(&self) -> Circuit {
        Circuit::of(self.circuit.load(Ordering::Relaxed))
    }

    /// What comes of it; none when nothing does.
    fn change_circuit(&self, to: impl Fn(Circuit) -> Option<Circuit>) -> Option<Circuit> {
        let change = |word| to(Circuit::of(word)).map(Circuit::word);
        let (write, read) = (Ordering::Relaxed, Ordering::Relaxed);
        let before = self.circuit.fetch_update(write, read, change).ok()?;
        to(Circuit::of(before))
    }

    /// What its agent said.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        self.verdict().confirmed
    }

    /// Whether it is probed: its agent's last answer was yes, also while that must be said again.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        matches!(self.confirmed(), Confirmed::Yes | Confirmed::Doubted)
    }

    /// What our probes say.
    #[must_use]
    pub fn health(&self) -> Health {
        self.verdict().health
    }

    /// Whether its agent shall be asked.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        self.verdict().wants_answer()
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
        let verdict = self.verdict();
        match verdict.confirmed {
            Confirmed::Unknown => true,
            Confirmed::Yes => verdict.health == Health::Unknown,
            Confirmed::Doubted => verdict.health == Health::Up,
            Confirmed::No => false,
        }
    }

    /// Whether its agent has said yes, and our first probe has not ended.
    #[must_use]
    pub fn awaits_probe(&self) -> bool {
        let verdict = self.verdict();
        verdict.confirmed == Confirmed::Yes && verdict.health == Health::Unknown
    }

    /// Whether something listened there until less than `patience` ago, and its agent does not say that it is gone.
    #[must_use]
    pub fn may_come_back(&self, patience: Duration, now: Instant) -> bool {
        let since = self.refused_since.load(Ordering::Relaxed);
        let lately = u128::from(millis(now).saturating_sub(since)) < patience.as_millis();
        since > 0 && lately && self.is_probed()
    }

    /// An answer from before this edge's start: it stands until the agent answers again.
    pub fn remember(&self) {
        self.change(Verdict::remembered);
    }

    /// Its agent says so now. True when that changed something.
    pub fn confirm(&self, holds: bool) -> bool {
        self.answered(self.verdict(), holds)
    }

    /// Its agent answered a question that began when this much was known. True when that changed something.
    pub fn answered(&self, asked: Verdict, holds: bool) -> bool {
        let (before, after) = self.change(|known| known.answered(asked, holds));
        before.confirmed != after.confirmed
    }

    /// Its agent did not answer that question. True when that changed something.
    pub fn unanswered(&self, asked: Verdict) -> bool {
        let (before, after) = self.change(|known| known.unanswered(asked));
        before.confirmed != after.confirmed
    }

    /// Our probe passed, which began when this much was known. True when it came up by that.
    pub fn probe_succeeded(&self, begun: Verdict) -> bool {
        let (before, after) = self.change(|known| known.passed(begun));
        if after.health != Health::Up {
            return false;
        }
        self.failed_probes.store(0, Ordering::Relaxed);
        self.refused_since.store(0, Ordering::Relaxed);
        let came_up = before.health != Health::Up;
        if came_up {
            // What was asked while nothing listened need not be waited out.
            self.asking.rested();
            self.readmit();
        }
        came_up
    }

    /// Our probe failed. True when it went down by that.
    pub fn probe_failed(&self, failure: Failure) -> bool {
        let failed = self.failed_probes.fetch_add(1, Ordering::Relaxed) + 1;
        match failure {
            Failure::Connect => self.refused(Instant::now()),
            _ if failed < DOWN_AFTER => false,
            // Nobody may have been there all the time.
            Failure::Silence => self.goes(Verdict::refused) == Health::Up,
            Failure::Answer | Failure::Status => self.goes(Verdict::down) == Health::Up,
        }
    }

    /// A request was answered: what failed before does not count any more. An ejection ends by its trial only.
    pub fn request_succeeded(&self, is_trial: bool) {
        // Nothing is to be forgotten of most: they are not written to.
        if self.circuit() != Circuit::default() {
            self.change_circuit(|circuit| Some(circuit.succeeded(is_trial)));
        }
    }

    /// A request failed. True when it has failed often enough to be ejected.
    pub fn request_failed(
        &self,
        failure: Failure,
        breaker: &Breaker,
        is_trial: bool,
        now: Instant,
    ) -> bool {
        if failure == Failure::Connect {
            self.refused(now);
        }
        let after = self.change_circuit(|circuit| Some(circuit.failed(breaker, is_trial, now)));
        after.is_some_and(|circuit| circuit.is_due(breaker))
    }

    /// It is left out from now on.
    pub fn eject(&self, now: Instant) {
        self.change_circuit(|circuit| Some(circuit.ejected(now)));
    }

    /// It is left out no longer.
    pub fn readmit(&self) {
        self.change_circuit(|_| Some(Circuit::default()));
    }

    /// True when it is ejected and its turn to be tried has come; the caller tries it now, with a request that is `free`
    /// or not (it is repeated elsewhere when the trial fails).
    pub fn take_trial(&self, breaker: &Breaker, free: bool, now: Instant) -> bool {
        let take = |circuit: Circuit| {
            let may = circuit.may_try(breaker, free, now);
            may.then(|| circuit.tried(now))
        };
        self.verdict().is_usable() && self.is_ejected() && self.change_circuit(take).is_some()
    }

    /// Nothing listens there. True when something did.
    fn refused(&self, now: Instant) -> bool {
        let before = self.goes(Verdict::refused);
        if before != Health::Down {
            self.refused_since.store(millis(now), Ordering::Relaxed);
        }
        before == Health::Up
    }

    /// What it was before.
    fn goes(&self, down: impl Fn(Verdict) -> Verdict) -> Health {
        let (before, _) = self.change(down);
        before.health
    }

    /// A request goes there.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request goes there, unless as many run there as may.
    #[must_use]
    pub fn begin_below(&self, max: Option<u32>) -> bool {
        let Some(max) = max else {
            self.begin();
            return true;
        };
        let begin = |count| (count < max as usize).then_some(count + 1);
        let (write, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.in_flight.fetch_update(write, read, begin).is_ok()
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
mod tests;
