//! The time, which every fact about an instance comes with: decisions ask no clock themselves.

use std::time::Instant;

use chrono::{DateTime, Utc};

/// Now, on both clocks: durations are measured on the monotonic one.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Monotonic.
    pub now: Instant,
    /// For people and for what the engine tells.
    pub wall: DateTime<Utc>,
}

impl Clock {
    /// Now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            now: Instant::now(),
            wall: Utc::now(),
        }
    }

    /// When something began that the engine dates.
    #[must_use]
    pub fn instant_of(&self, at: DateTime<Utc>) -> Instant {
        let ago = (self.wall - at).to_std().unwrap_or_default();
        self.now.checked_sub(ago).unwrap_or(self.now)
    }
}
