//! What a proxy does to the connections that it carries.

use std::{num::NonZeroU32, time::Duration};

/// What happens to connections; the default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// On the way from clients to the target.
    pub to_target: Direction,
    /// On the way back.
    pub to_client: Direction,
    /// New connections are reset at once.
    pub refuse: bool,
}

/// What happens to bytes on one way; the default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Direction {
    /// They arrive this much later.
    pub latency: Duration,
    /// And up to so much earlier or later than that, but never out of order.
    pub jitter: Duration,
    /// No more than these arrive in a second, on each connection.
    pub bytes_per_second: Option<NonZeroU32>,
    /// None arrive; those sent meanwhile arrive when this is over.
    pub stalled: bool,
}

impl Conditions {
    /// The same on both ways.
    #[must_use]
    pub fn both(direction: Direction) -> Self {
        Self {
            to_target: direction,
            to_client: direction,
            refuse: false,
        }
    }

    /// Each way takes `latency`, give or take `jitter`.
    #[must_use]
    pub fn delayed(latency: Duration, jitter: Duration) -> Self {
        Self::both(Direction {
            latency,
            jitter,
            ..Direction::default()
        })
    }

    /// Connections open and stay open, but no byte passes.
    #[must_use]
    pub fn stalled() -> Self {
        Self::both(Direction {
            stalled: true,
            ..Direction::default()
        })
    }

    /// New connections are reset; those open stay.
    #[must_use]
    pub fn refusing() -> Self {
        Self {
            refuse: true,
            ..Self::default()
        }
    }
}

impl Direction {
    /// How long the next bytes are under way.
    pub(super) fn delay(&self) -> Duration {
        let span = self.jitter * 2;
        let part = Duration::from_secs_f64(span.as_secs_f64() * rand::random::<f64>());
        (self.latency + part).saturating_sub(self.jitter)
    }

    /// How long the line is busy with so many bytes.
    pub(super) fn busy(&self, length: usize) -> Duration {
        self.bytes_per_second.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(length as f64 / f64::from(rate.get()))
        })
    }
}
