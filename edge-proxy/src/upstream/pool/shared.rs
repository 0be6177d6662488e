//! What is known of a service whichever endpoints it has: it goes on from one table to the next.

use crate::upstream::budget::RetryBudget;

/// Of one service, at this edge.
#[derive(Debug, Default)]
pub struct Shared {
    /// How many requests may be tried again.
    pub retries: RetryBudget,
}
