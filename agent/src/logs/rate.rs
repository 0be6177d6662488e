//! 500 lines a second per instance; what is more is dropped and counted.

use std::time::{Duration, Instant};

const LINES_PER_SECOND: u32 = 500;

/// The budget of one source.
#[derive(Debug)]
pub struct Rate {
    second: Instant,
    passed: u32,
    dropped: u64,
}

impl Rate {
    /// A fresh budget.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            second: now,
            passed: 0,
            dropped: 0,
        }
    }

    /// `Some(dropped before it)` when a line may pass now.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.passed = 0;
        }
        if self.passed >= LINES_PER_SECOND {
            self.dropped += 1;
            return None;
        }
        self.passed += 1;
        Some(self.take_dropped())
    }

    /// What was dropped and not told yet.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_passes_or_is_counted() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let mut passed = 0;
        let mut dropped = 0;
        for n in 0..3000_u64 {
            if let Some(lost) = rate.admit(start + Duration::from_millis(n)) {
                passed += 1;
                dropped += lost;
            }
        }
        assert_eq!(passed, 1500);
        assert_eq!(passed + dropped + rate.take_dropped(), 3000);
    }
}
