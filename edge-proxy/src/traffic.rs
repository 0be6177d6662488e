//! How the edge fares as a whole, for its report: a platform-made change goes on to the next ring of
//! edges by these numbers (docs/adr/0018).

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::report;

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    failed: AtomicU64,
    unrouted: AtomicU64,
    items_refused: AtomicU64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, by whomever and whatever.
    Answered,
    /// The user got nothing whole, by the platform's doing.
    Failed,
    /// Nothing here is known under the host's name, or a rule blocks it: routes that block everything are as bad as
    /// routes that know nothing.
    Unrouted,
}

impl Traffic {
    /// A request, or a handshake that never became one, has ended.
    pub fn record(&self, outcome: Outcome) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let also = match outcome {
            Outcome::Answered => return,
            Outcome::Failed => &self.failed,
            Outcome::Unrouted => &self.unrouted,
        };
        also.fetch_add(1, Ordering::Relaxed);
    }

    /// So many items of the newest routes can't be used.
    pub fn set_items_refused(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.items_refused.store(count, Ordering::Relaxed);
    }

    /// What the report says; `unread` items did not even reach the edge's routes.
    #[must_use]
    pub fn snapshot(&self, unread: usize) -> report::Traffic {
        let unread = u64::try_from(unread).unwrap_or(u64::MAX);
        report::Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            unrouted: self.unrouted.load(Ordering::Relaxed),
            items_refused: self
                .items_refused
                .load(Ordering::Relaxed)
                .saturating_add(unread),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_counts_once_and_refused_items_as_they_stand() {
        let traffic = Traffic::default();
        for outcome in [Outcome::Answered, Outcome::Failed, Outcome::Unrouted] {
            traffic.record(outcome);
        }
        traffic.set_items_refused(7);
        traffic.set_items_refused(2);
        let expected = report::Traffic {
            requests: 3,
            failed: 1,
            unrouted: 1,
            items_refused: 3,
        };
        assert_eq!(traffic.snapshot(1), expected);
    }
}
