//! The end of an edge: it stops accepting, tells clients to go elsewhere, lets requests finish, and
//! cuts what is left at the limit. It ends as soon as nothing runs.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by all that accept or serve.
#[derive(Debug, Clone)]
pub struct Drain {
    begun: watch::Sender<bool>,
    limit: CancellationToken,
    connections: TaskTracker,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            begun: watch::Sender::new(false),
            limit: CancellationToken::new(),
            connections: TaskTracker::new(),
        }
    }
}

impl Drain {
    /// Turns true when the edge begins to end (the form that Pingora wants).
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// Whether the edge is ending.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Resolves when the edge begins to end.
    pub async fn begun(&self) {
        let mut watch = self.begun.subscribe();
        let _ = watch.wait_for(|begun| *begun).await;
    }

    /// Resolves when what still runs shall be cut.
    pub async fn limit(&self) {
        self.limit.cancelled().await;
    }

    /// The tasks that serve connections.
    #[must_use]
    pub fn connections(&self) -> &TaskTracker {
        &self.connections
    }

    /// Ends the edge: returns when all connections have ended, at the latest a little after `limit`.
    pub async fn run(&self, limit: Duration) {
        self.begun.send_replace(true);
        self.connections.close();
        if tokio::time::timeout(limit, self.connections.wait())
            .await
            .is_ok()
        {
            return;
        }
        tracing::warn!(
            connections = self.connections.len(),
            "cutting what still runs at the limit of the drain"
        );
        self.limit.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.connections.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_when_idle_and_cuts_at_the_limit() {
        let drain = Drain::default();
        let begun = tokio::time::Instant::now();
        drain.run(Duration::from_secs(30)).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);

        let drain = Drain::default();
        let other = drain.clone();
        drain
            .connections()
            .spawn(async move { other.limit().await });
        let begun = tokio::time::Instant::now();
        drain.run(Duration::from_secs(30)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        assert!(drain.has_begun());
    }
}
