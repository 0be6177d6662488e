//! How many requests of a service may be tried again: a fifth of those of the last seconds, so that instances that are in
//! trouble do not get several times as much to do. Counters without a lock: who counts waits for nobody.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::turn::millis;

/// Of the requests, in percent.
const SHARE: u64 = 20;
/// So many are free: of a service with few requests none could be tried again.
const FREE: u64 = 10;
/// Seconds that count.
const SECONDS: usize = 10;

const TICK_BITS: u32 = 24;
const REQUEST_BITS: u32 = 24;
const RETRY_BITS: u32 = 16;

/// Requests and retries of the last seconds.
#[derive(Debug, Default)]
pub struct RetryBudget {
    seconds: [AtomicU64; SECONDS],
}

/// What was counted in one second, in an atomic's form and out of it. What does not fit stays at the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Second {
    /// Which one.
    tick: u64,
    requests: u64,
    retries: u64,
}

impl Second {
    fn of(word: u64) -> Self {
        Self {
            tick: word >> (REQUEST_BITS + RETRY_BITS),
            requests: (word >> RETRY_BITS) & max_of(REQUEST_BITS),
            retries: word & max_of(RETRY_BITS),
        }
    }

    fn word(self) -> u64 {
        let requests = self.requests.min(max_of(REQUEST_BITS));
        let retries = self.retries.min(max_of(RETRY_BITS));
        (self.tick << (REQUEST_BITS + RETRY_BITS)) | (requests << RETRY_BITS) | retries
    }

    /// Begins anew when it was another second.
    fn at(self, tick: u64) -> Self {
        match self.tick == tick {
            true => self,
            false => Self {
                tick,
                requests: 0,
                retries: 0,
            },
        }
    }

    fn counts_at(self, tick: u64) -> bool {
        let age = tick.wrapping_sub(self.tick) & max_of(TICK_BITS);
        age < SECONDS as u64
    }
}

const fn max_of(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// From 1, so that what was never counted in is no second; after half a year it begins again.
fn tick(now: Instant) -> u64 {
    (millis(now) / 1000 + 1) & max_of(TICK_BITS)
}

impl RetryBudget {
    /// A request comes.
    pub fn request(&self, now: Instant) {
        self.count(now, 1, 0);
    }

    /// Whether a request may be tried again now; then it is counted.
    pub fn take(&self, now: Instant) -> bool {
        let (requests, retries) = self.counted(now);
        let may = retries < FREE.max(requests * SHARE / 100);
        if may {
            self.count(now, 0, 1);
        }
        may
    }

    fn count(&self, now: Instant, requests: u64, retries: u64) {
        let tick = tick(now);
        let Some(second) = self.seconds.get(tick as usize % SECONDS) else {
            return;
        };
        let count = |word| {
            let before = Second::of(word).at(tick);
            let after = Second {
                requests: before.requests + requests,
                retries: before.retries + retries,
                ..before
            };
            Some(after.word())
        };
        let (write, read) = (Ordering::Relaxed, Ordering::Relaxed);
        // It never refuses.
        let _ = second.fetch_update(write, read, count);
    }

    fn counted(&self, now: Instant) -> (u64, u64) {
        let tick = tick(now);
        let seconds = self.seconds.iter();
        let seconds = seconds.map(|second| Second::of(second.load(Ordering::Relaxed)));
        seconds
            .filter(|second| second.counts_at(tick))
            .fold((0, 0), |(requests, retries), second| {
                (requests + second.requests, retries + second.retries)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::turn::start_clock;

    fn now() -> Instant {
        start_clock();
        Instant::now()
    }

    fn taken(budget: &RetryBudget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn a_fifth_may_be_tried_again_and_of_few_some() {
        let (budget, now) = (RetryBudget::default(), now());
        for _ in 0..200 {
            budget.request(now);
        }
        assert_eq!(taken(&budget, now), 40);
        assert_eq!(taken(&RetryBudget::default(), now), 10);
    }

    #[test]
    fn what_is_ten_seconds_old_does_not_count() {
        let (budget, now) = (RetryBudget::default(), now());
        for _ in 0..100 {
            budget.request(now);
        }
        assert_eq!(taken(&budget, now), 20);
        let later = now + Duration::from_secs(SECONDS as u64 - 1);
        assert_eq!(taken(&budget, later), 0);
        let later = later + Duration::from_secs(1);
        assert_eq!(taken(&budget, later), 10, "all is forgotten");
    }

    #[test]
    fn a_second_is_read_as_it_was_written_and_never_overflows() {
        let second = Second {
            tick: 77,
            requests: max_of(REQUEST_BITS),
            retries: 3,
        };
        assert_eq!(Second::of(second.word()), second);
        let more = Second {
            requests: second.requests + 1,
            ..second
        };
        assert_eq!(Second::of(more.word()), second);
    }

    proptest! {
        #[test]
        fn it_counts_as_one_who_writes_all_down(steps in proptest::collection::vec((0_u64..4_000, 0_u8..4), 1..200)) {
            let (budget, mut now) = (RetryBudget::default(), now());
            let mut written: Vec<(u64, bool)> = Vec::new();
            for (pause, kind) in steps {
                now += Duration::from_millis(pause);
                let current = tick(now);
                let recent = |retry: bool| {
                    let fits = |(at, is_retry): &&(u64, bool)| *is_retry == retry && current - at < SECONDS as u64;
                    written.iter().filter(fits).count() as u64
                };
                if kind == 0 {
                    let may = recent(true) < FREE.max(recent(false) * SHARE / 100);
                    prop_assert_eq!(budget.take(now), may);
                    if may {
                        written.push((current, true));
                    }
                } else {
                    budget.request(now);
                    written.push((current, false));
                }
            }
        }
    }
}
