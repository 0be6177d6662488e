//! What a node takes from a feed at most, whoever sends it.

use crate::feed::FeedName;

/// What a feed may cost a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest line; the rendered item of a service is a few KiB.
    pub line_bytes: usize,
    /// Most items of the document.
    pub items: usize,
    /// Most bytes of the document, and of a change set with its secrets.
    pub total_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 1 << 20,
            items: 500_000,
            total_bytes: 512 << 20,
        }
    }
}

impl Limits {
    /// Of a feed: only global routes carry certificates; 100,000 services with three endpoints have 60 MB.
    #[must_use]
    pub fn of(feed: &FeedName) -> Self {
        let total_bytes = match feed {
            FeedName::GlobalRoutes(_) => 512 << 20,
            FeedName::RegionRoutes(..) => 128 << 20,
            FeedName::Node(_) => 32 << 20,
        };
        Self {
            total_bytes,
            ..Self::default()
        }
    }
}
