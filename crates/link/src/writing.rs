//! Who writes the state folder and speaks for the node: one process at a time. One that hands the node over to its
//! successor takes that right from all of its own parts, and gives it back to them when the successor fails.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

/// How often this process has let another one write.
pub type TimesLent = u64;

/// The right of this process's parts to write. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Writing {
    right: Arc<RwLock<TimesLent>>,
    returned: Arc<watch::Sender<TimesLent>>,
}

/// While it is there, no other process writes.
#[derive(Debug)]
pub struct Turn(OwnedRwLockReadGuard<TimesLent>);

/// While it is there, no part of this process writes.
#[derive(Debug)]
pub struct Lent {
    times: OwnedRwLockWriteGuard<TimesLent>,
    returned: Arc<watch::Sender<TimesLent>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.returned.send_replace(*self.times);
    }
}

impl Writing {
    /// Waits for as long as another process has the right.
    pub async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.right).read_owned().await)
    }

    /// Waits until what is being written is written, and lets nothing more begin.
    pub async fn lend(&self) -> Lent {
        let mut times = Arc::clone(&self.right).write_owned().await;
        *times += 1;
        Lent {
            times,
            returned: Arc::clone(&self.returned),
        }
    }

    /// Changes whenever the right comes back to this process.
    #[must_use]
    pub fn returned(&self) -> watch::Receiver<TimesLent> {
        self.returned.subscribe()
    }
}

impl Turn {
    /// Changes when another process may have written since an earlier turn.
    #[must_use]
    pub fn times_lent(&self) -> u64 {
        *self.0
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn nobody_writes_while_it_is_lent_and_all_learn_that_it_was() {
        let writing = Writing::default();
        let (one, other) = (writing.turn().await, writing.turn().await);
        let before = one.times_lent();
        assert!(writing.lend().now_or_never().is_none(), "two still write");
        drop((one, other));

        let returned = writing.returned();
        let lent = writing.lend().await;
        assert!(writing.turn().now_or_never().is_none());
        assert!(!returned.has_changed().unwrap());
        drop(lent);
        assert!(returned.has_changed().unwrap());
        assert_ne!(writing.turn().await.times_lent(), before);
    }
}
