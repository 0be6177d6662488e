//! What is known of a service whichever endpoints it has: it goes on from one table to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::room::Queue;
use crate::upstream::budget::RetryBudget;

/// Of one service, at this edge.
#[derive(Debug, Default)]
pub struct Shared {
    /// How many requests may be tried again.
    pub retries: RetryBudget,
    ejecting: Mutex<()>,
    pub(super) queue: Queue,
}

impl Shared {
    /// For the one who ejects an endpoint: two at a time could each be the last that may be.
    pub(super) fn ejects_alone(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
