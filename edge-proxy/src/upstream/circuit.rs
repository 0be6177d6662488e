//! What requests have met at an endpoint, and whether it is left out ("ejected") for that. An endpoint that is ejected gets
//! one request at a time to try it: soon such as can be repeated elsewhere, which costs nobody an answer; others later, and
//! later from time to time.

use std::time::{Duration, Instant};

use domain::spec::Breaker;

use super::turn::millis;

/// However often a trial failed, any request may be the next one after this.
const LONGEST: Duration = Duration::from_secs(300);

const FAILURE_BITS: u32 = 16;
const EJECTION_BITS: u32 = 8;

/// A value, as the verdict: it changes as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circuit {
    /// In a row, while requests go there.
    failures: u64,
    /// In a row; 0 while requests go there.
    ejections: u64,
    /// Milliseconds as of [`millis`]: of the last failure, or of the last trial.
    at: u64,
}

impl Circuit {
    /// Whether requests go elsewhere.
    #[must_use]
    pub const fn is_ejected(self) -> bool {
        self.ejections > 0
    }

    /// A request failed. One that began before the ejection says nothing new.
    #[must_use]
    pub fn failed(self, breaker: &Breaker, is_trial: bool, now: Instant) -> Self {
        let now = millis(now);
        let is_in_a_row = now.saturating_sub(self.at) <= breaker.interval.as_millis();
        match (self.is_ejected(), is_trial) {
            (true, true) => Self {
                ejections: (self.ejections + 1).min(max_of(EJECTION_BITS)),
                at: now,
                ..self
            },
            (true, false) => self,
            (false, _) => Self {
                failures: match is_in_a_row {
                    true => (self.failures + 1).min(max_of(FAILURE_BITS)),
                    false => 1,
                },
                at: now,
                ..self
            },
        }
    }

    /// A request was answered. One that began before the ejection does not end it: there were failures since.
    #[must_use]
    pub fn succeeded(self, is_trial: bool) -> Self {
        match self.is_ejected() && !is_trial {
            true => self,
            false => Self::default(),
        }
    }

    /// Whether it has failed often enough to be left out.
    #[must_use]
    pub fn is_due(self, breaker: &Breaker) -> bool {
        !self.is_ejected() && self.failures >= u64::from(breaker.failures)
    }

    /// It is left out from now on.
    #[must_use]
    pub fn ejected(self, now: Instant) -> Self {
        Self {
            failures: 0,
            ejections: self.ejections.max(1),
            at: millis(now),
        }
    }

    /// Whether one request may try it now: such as is `free`, because it is repeated elsewhere when that fails, or another.
    #[must_use]
    pub fn may_try(self, breaker: &Breaker, free: bool, now: Instant) -> bool {
        let ejection = breaker.ejection.as_millis();
        let longest = ejection.max(LONGEST.as_millis() as u64);
        let doublings = self.ejections.saturating_sub(1).min(32);
        let wait = match free {
            true => ejection,
            false => ejection.saturating_mul(1 << doublings).min(longest),
        };
        self.is_ejected() && millis(now).saturating_sub(self.at) >= wait
    }

    /// A request tries it: no other one does for as long.
    #[must_use]
    pub fn tried(self, now: Instant) -> Self {
        Self {
            at: millis(now),
            ..self
        }
    }

    /// In an atomic's form: 0 is the default.
    pub(super) const fn word(self) -> u64 {
        (self.at << (FAILURE_BITS + EJECTION_BITS))
            | (self.ejections << FAILURE_BITS)
            | self.failures
    }

    /// Back from it.
    pub(super) const fn of(word: u64) -> Self {
        Self {
            failures: word & max_of(FAILURE_BITS),
            ejections: (word >> FAILURE_BITS) & max_of(EJECTION_BITS),
            at: word >> (FAILURE_BITS + EJECTION_BITS),
        }
    }
}

const fn max_of(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use domain::quantity::Span;
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::turn::start_clock;

    fn start() -> Instant {
        start_clock();
        Instant::now()
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ejected(breaker: &Breaker, now: Instant) -> Circuit {
        let failed = |circuit: Circuit, _| circuit.failed(breaker, false, now);
        let circuit = (0..breaker.failures).fold(Circuit::default(), failed);
        assert!(circuit.is_due(breaker));
        circuit.ejected(now)
    }

    #[test]
    fn failures_count_in_a_row_and_within_the_interval() {
        let (breaker, now) = (Breaker::default(), start());
        let twice = Circuit::default()
            .failed(&breaker, false, now)
            .failed(&breaker, false, now);
        assert!(!twice.is_due(&breaker));
        assert!(
            twice
                .failed(&breaker, false, now + seconds(30))
                .is_due(&breaker)
        );
        assert!(
            !twice
                .failed(&breaker, false, now + seconds(31))
                .is_due(&breaker)
        );
        assert_eq!(twice.succeeded(false), Circuit::default());
    }

    #[test]
    fn after_the_ejection_one_request_tries_it_and_its_answer_brings_it_back() {
        let (breaker, now) = (Breaker::default(), start());
        let circuit = ejected(&breaker, now);
        assert!(circuit.is_ejected() && !circuit.is_due(&breaker));
        assert!(!circuit.may_try(&breaker, true, now + seconds(29)));
        let later = now + seconds(30);
        assert!(circuit.may_try(&breaker, true, later) && circuit.may_try(&breaker, false, later));
        let tried = circuit.tried(later);
        assert!(!tried.may_try(&breaker, true, later), "one at a time");
        assert!(
            tried.may_try(&breaker, true, later + seconds(30)),
            "that one never ended"
        );
        assert_eq!(tried.succeeded(true), Circuit::default());
    }

    #[test]
    fn what_began_before_the_ejection_neither_ends_nor_lengthens_it() {
        let (breaker, now) = (Breaker::default(), start());
        let circuit = ejected(&breaker, now);
        assert_eq!(circuit.succeeded(false), circuit);
        assert_eq!(circuit.failed(&breaker, false, now + seconds(1)), circuit);
    }

    #[test]
    fn trials_that_cost_an_answer_come_at_ever_longer_intervals_and_free_ones_do_not() {
        let (breaker, mut now) = (Breaker::default(), start());
        let mut circuit = ejected(&breaker, now);
        for wait in [30, 60, 120, 240, 300, 300] {
            let due = |after| circuit.may_try(&breaker, false, now + seconds(after));
            assert!(!due(wait - 1) && due(wait), "{wait}");
            assert!(circuit.may_try(&breaker, true, now + seconds(30)));
            now += seconds(wait);
            circuit = circuit.tried(now).failed(&breaker, true, now);
        }
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_was_written(failures in 0..=max_of(FAILURE_BITS), ejections in 0..=max_of(EJECTION_BITS), at in 0..=max_of(40)) {
            let circuit = Circuit { failures, ejections, at };
            prop_assert_eq!(Circuit::of(circuit.word()), circuit);
        }

        #[test]
        fn whatever_happens_it_is_back_with_the_first_trial_that_is_answered(
            steps in proptest::collection::vec((0_u64..100_000, 0_u8..4), 0..400),
            failures in 1_u32..5,
        ) {
            let breaker = Breaker { failures, ejection: Span::seconds(10), ..Breaker::default() };
            let (mut circuit, mut now) = (Circuit::default(), start());
            for (pause, step) in steps {
                now += Duration::from_millis(pause);
                circuit = match step {
                    0 => circuit.failed(&breaker, false, now),
                    1 => circuit.succeeded(false),
                    2 if circuit.may_try(&breaker, false, now) => circuit.tried(now).failed(&breaker, true, now),
                    _ if circuit.is_due(&breaker) => circuit.ejected(now),
                    _ => circuit,
                };
                prop_assert_eq!(Circuit::of(circuit.word()), circuit);
                prop_assert!(!circuit.is_ejected() || circuit.may_try(&breaker, true, now + seconds(10)));
                prop_assert!(!circuit.is_ejected() || circuit.may_try(&breaker, false, now + LONGEST));
                prop_assert_eq!(circuit.succeeded(true), Circuit::default());
            }
        }
    }
}
