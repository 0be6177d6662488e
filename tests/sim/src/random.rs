//! The one source of chance: everything that is not decided by production code is drawn from here, so
//! that a seed is a whole history.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::clock::{self, Millis};

/// A seeded generator.
#[derive(Debug)]
pub struct Random(StdRng);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A generator of its own, so that one part's draws don't shift another's.
    pub fn fork(&mut self) -> Self {
        Self::new(self.0.random())
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1_000) < per_mille
    }

    /// One of them; none of nothing.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() {
            return None;
        }
        all.get(self.0.random_range(0..all.len()))
    }

    /// An index below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// A UUID of version 7 made now: later ones sort later, as in production.
    pub fn uuid(&mut self, now: Millis) -> Uuid {
        let millis = clock::wall(now).timestamp_millis().unsigned_abs();
        let low: u64 = self.0.random();
        let counter: u64 = self.0.random_range(0..0x1000);
        Uuid::from_u64_pair(millis << 16 | 0x7000 | counter, 1 << 63 | low >> 2)
    }
}
