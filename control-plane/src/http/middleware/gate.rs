//! A limited number of requests at work, and a short wait for the others. Beyond its capacity a replica
//! answers what it can in time, and says of the rest at once that it can't. Health answers are elsewhere and
//! never wait.

use std::{sync::LazyLock, time::Duration};

use prometheus::IntCounter;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Three times the connections of a pool: more at once would wait for these.
const AT_WORK: usize = 32;
/// Beyond that many, nobody waits for a place at all.
const WAITING: usize = 128;
const PATIENCE: Duration = Duration::from_millis(250);

/// The places of a replica.
#[derive(Debug)]
pub struct Gate {
    work: Semaphore,
    queue: Semaphore,
}

/// There was no place in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Overloaded;

impl Default for Gate {
    fn default() -> Self {
        // Shown from the start, while it is 0.
        LazyLock::force(&SHED);
        Self {
            work: Semaphore::new(AT_WORK),
            queue: Semaphore::new(WAITING),
        }
    }
}

impl Gate {
    /// A place, for as long as the answer has not begun.
    ///
    /// # Errors
    /// When there was none in time.
    pub async fn enter(&self) -> Result<SemaphorePermit<'_>, Overloaded> {
        if let Ok(place) = self.work.try_acquire() {
            return Ok(place);
        }
        let place = self.wait().await;
        if place.is_none() {
            count_shed();
        }
        place.ok_or(Overloaded)
    }

    /// Whether whoever comes now finds neither a place at work nor one to wait.
    pub fn is_full(&self) -> bool {
        self.work.available_permits() == 0 && self.queue.available_permits() == 0
    }

    /// Takes all places.
    #[cfg(test)]
    pub fn fill(&self) -> [SemaphorePermit<'_>; 2] {
        let all = |of: &'_ Semaphore| u32::try_from(of.available_permits()).unwrap();
        [&self.work, &self.queue].map(|places| places.try_acquire_many(all(places)).unwrap())
    }

    async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = self.queue.try_acquire().ok()?;
        timeout(PATIENCE, self.work.acquire()).await.ok()?.ok()
    }
}

/// A request was turned away.
pub fn count_shed() {
    SHED.inc();
}

static SHED: LazyLock<IntCounter> = LazyLock::new(|| {
    #[allow(clippy::expect_used)]
    let counter = IntCounter::new(
        "railhead_http_requests_shed_total",
        "Requests that got no place in time, because others were at work.",
    )
    .expect("the name above is well-formed");
    if let Err(error) = telemetry::metrics::registry().register(Box::new(counter.clone())) {
        tracing::error!(%error, "the metrics of shed requests are not served");
    }
    counter
});

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_little_and_beyond_that_nobody_waits() {
        let gate = Gate::default();
        let mut places = join_all((0..AT_WORK).map(|_| gate.enter())).await;
        assert!(places.iter().all(Result::is_ok));
        let begun = tokio::time::Instant::now();
        assert_eq!(gate.enter().await.unwrap_err(), Overloaded);
        assert!(begun.elapsed() >= PATIENCE);

        let waiting = join_all((0..=WAITING).map(|_| gate.enter()));
        assert!(!gate.is_full());
        let leaving = async {
            assert!(gate.is_full());
            drop(places.pop());
        };
        let (outcomes, ()) = tokio::join!(waiting, leaving);
        let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(served, 1, "the place that was left");
    }
}
