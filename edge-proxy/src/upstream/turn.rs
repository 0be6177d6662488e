//! When something was last begun, and whether it is still under way: it is begun by one at a time, and not too often.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Atomics, so that whoever reads it waits for nobody.
#[derive(Debug, Default)]
pub struct Turn {
    /// Milliseconds as of [`millis`]; 0 before the first time.
    begun_at: AtomicU64,
    under_way: AtomicBool,
}

impl Turn {
    /// True when it is not under way and was not begun within `interval`; the caller begins it now.
    pub fn take(&self, interval: Duration, now: Instant) -> bool {
        let (before, now) = (self.begun_at.load(Ordering::Relaxed), millis(now));
        let since = u128::from(now.saturating_sub(before));
        let rested = before == 0 || since >= interval.as_millis();
        let due = rested && !self.under_way.swap(true, Ordering::Relaxed);
        if due {
            self.begun_at.store(now, Ordering::Relaxed);
        }
        due
    }

    /// The next need not wait for an interval.
    pub fn rested(&self) {
        self.begun_at.store(0, Ordering::Relaxed);
    }

    /// It has ended.
    pub fn ended(&self) {
        self.under_way.store(false, Ordering::Relaxed);
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Times before the clock's start would all be one.
pub fn start_clock() {
    LazyLock::force(&START);
}

/// On the process's own monotonic clock, from 1.
pub fn millis(at: Instant) -> u64 {
    let since = at.saturating_duration_since(*START).as_millis();
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
}
