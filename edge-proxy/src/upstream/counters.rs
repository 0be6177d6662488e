//! Requests and failures of each deployment, for the edge's report: a deployment's record carries
//! the number of failed requests during its change.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::id::DeploymentId;
use protocol::report::RequestCounts;

/// Deployments that are remembered; the oldest (ids sort by time) are forgotten first.
const MAX: usize = 10_000;

/// Counters of all deployments that were seen since the start.
#[derive(Debug, Default)]
pub struct Counters {
    by_deployment: Mutex<BTreeMap<DeploymentId, Arc<Counter>>>,
}

/// One deployment's counters.
#[derive(Debug, Default)]
pub struct Counter {
    requests: AtomicU64,
    failed: AtomicU64,
}

impl Counter {
    /// Counts a request that has ended.
    pub fn record(&self, failed: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}

impl Counters {
    /// A deployment's counter.
    #[must_use]
    pub fn of(&self, deployment: DeploymentId) -> Arc<Counter> {
        let mut all = self
            .by_deployment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let counter = Arc::clone(all.entry(deployment).or_default());
        if all.len() > MAX {
            all.pop_first();
        }
        counter
    }

    /// What the report says.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<DeploymentId, RequestCounts> {
        let all = self
            .by_deployment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(id, counter)| {
                let counts = RequestCounts {
                    requests: counter.requests.load(Ordering::Relaxed),
                    failed: counter.failed.load(Ordering::Relaxed),
                };
                (*id, counts)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_deployment() {
        let (counters, id) = (Counters::default(), DeploymentId::new());
        counters.of(id).record(false);
        counters.of(id).record(true);
        let expected = RequestCounts {
            requests: 2,
            failed: 1,
        };
        assert_eq!(counters.snapshot(), BTreeMap::from([(id, expected)]));
    }
}
