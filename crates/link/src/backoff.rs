//! Waiting between attempts: doubling, bounded, with jitter, so that a thousand nodes don't come back
//! to a restarted control plane in the same second.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// The delays of one series of attempts.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Default for Backoff {
    fn default() -> Self {
        Self(
            ExponentialBuilder::default()
                .with_min_delay(FIRST)
                .with_max_delay(LONGEST)
                .with_jitter()
                .without_max_times()
                .build(),
        )
    }
}

impl Backoff {
    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST)
    }

    /// Starts again after a success.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
