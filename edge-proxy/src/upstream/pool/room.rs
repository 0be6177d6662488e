//! How many requests an instance has at a time from this edge, and who waits for room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{ServicePool, Shared};
use crate::upstream::endpoint::Endpoint;

/// Room also comes without anybody leaving (a new instance, one that is healthy again): so often it is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// A request that runs at an endpoint. It has ended when this is dropped, and somebody who waits has its place.
#[derive(Debug)]
pub struct Running {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.endpoint.end();
        let queue = &self.shared.queue;
        if queue.count.load(Ordering::Relaxed) > 0 {
            queue.left.notify_one();
        }
    }
}

impl ServicePool {
    /// A request runs there from now on; none when there are as many as may.
    #[must_use]
    pub fn begin(&self, endpoint: &Arc<Endpoint>) -> Option<Running> {
        let begun = endpoint.begin_below(self.limits.connections);
        begun.then(|| Running {
            endpoint: Arc::clone(endpoint),
            shared: Arc::clone(&self.shared),
        })
    }

    pub(super) fn has_room(&self, endpoint: &Endpoint) -> bool {
        is_below(endpoint, self.limits.connections)
    }

    pub(super) fn is_preferred(&self, endpoint: &Endpoint) -> bool {
        is_below(endpoint, self.limits.soft)
    }

    /// A place among those who wait for room; none when as many wait as may.
    #[must_use]
    pub fn queue(&self) -> Option<Waiting> {
        let max = self.limits.pending.unwrap_or_default() as usize;
        let join = |count| (count < max).then_some(count + 1);
        let (write, read) = (Ordering::Relaxed, Ordering::Relaxed);
        let joined = self.shared.queue.count.fetch_update(write, read, join);
        joined.is_ok().then(|| Waiting(Arc::clone(&self.shared)))
    }

    /// Whether others wait: who comes now waits behind them.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        self.shared.queue.count.load(Ordering::Relaxed) > 0
    }
}

fn is_below(endpoint: &Endpoint, limit: Option<u32>) -> bool {
    limit.is_none_or(|limit| endpoint.in_flight() < limit as usize)
}

/// Those who wait for room at a service.
#[derive(Debug, Default)]
pub(super) struct Queue {
    count: AtomicUsize,
    left: Notify,
}

/// One who waits, until dropped.
#[derive(Debug)]
pub struct Waiting(Arc<Shared>);

impl Waiting {
    /// Returns when it is worth to look for room, to one after the other in the order in which they came.
    pub async fn next(&self) {
        // Nobody has left: there may be room all the same.
        let _ = timeout(LOOK, self.0.queue.left.notified()).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.queue.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use domain::spec::Limits;
    use futures::FutureExt as _;
    use protocol::item::{ServiceItem, ServicePolicy};

    use super::*;
    use crate::upstream::{
        counters::Counters,
        pool::{carry_over, tests},
    };

    fn limited(count: u16, limits: Limits) -> ServicePool {
        let unlimited = Arc::new(tests::pool(count));
        let specs = unlimited.endpoints().iter().map(|e| e.spec).collect();
        let item = ServiceItem {
            policy: ServicePolicy {
                limits: Some(limits),
                ..ServicePolicy::default()
            },
            ..tests::item(specs)
        };
        carry_over(
            &item,
            Some(&unlimited),
            &Counters::default(),
            Instant::now(),
        )
    }

    fn hard(connections: u32) -> Limits {
        Limits {
            connections: Some(connections),
            ..Limits::default()
        }
    }

    fn run(pool: &ServicePool) -> Option<Running> {
        let endpoint = pool.choose(&[], Instant::now())?;
        pool.begin(&endpoint)
    }

    #[test]
    fn an_instance_has_no_more_than_it_may_and_who_leaves_makes_room() {
        let pool = limited(2, hard(3));
        let mut running: Vec<_> = std::iter::from_fn(|| run(&pool)).collect();
        assert_eq!(running.len(), 6);
        assert!(pool.endpoints().iter().all(|e| e.in_flight() == 3));
        assert!(pool.begin(&pool.endpoints()[0]).is_none());
        assert!(pool.is_full(&[], Instant::now()));
        running.pop();
        assert!(!pool.is_full(&[], Instant::now()) && run(&pool).is_some());
    }

    #[test]
    fn however_many_begin_at_once_the_limit_holds() {
        let pool = &limited(1, hard(5));
        let endpoint = &pool.endpoints()[0];
        let begun = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(move || std::array::from_fn::<_, 3, _>(|_| pool.begin(endpoint)))
                })
                .collect();
            let all = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            all.flatten().collect::<Vec<_>>()
        });
        assert_eq!((begun.len(), endpoint.in_flight()), (5, 5));
    }

    #[test]
    fn instances_below_the_soft_limit_go_first() {
        let soft = Limits {
            soft: Some(2),
            ..hard(4)
        };
        let pool = limited(3, soft);
        let running: Vec<_> = (0..6).map(|_| run(&pool).unwrap()).collect();
        assert!(pool.endpoints().iter().all(|e| e.in_flight() == 2));
        assert!(run(&pool).is_some(), "the soft one is no limit");
        drop(running);
    }

    #[tokio::test]
    async fn as_many_wait_as_may_and_are_told_in_order_when_somebody_leaves() {
        let limits = Limits {
            pending: Some(2),
            ..hard(1)
        };
        let pool = limited(1, limits);
        assert!(limited(1, hard(1)).queue().is_none(), "nobody may");
        let running = run(&pool).unwrap();
        let (first, second) = (pool.queue().unwrap(), pool.queue().unwrap());
        assert!(pool.queue().is_none() && pool.has_queue());
        let (mut one, mut two) = (Box::pin(first.next()), Box::pin(second.next()));
        assert!(one.as_mut().now_or_never().is_none() && two.as_mut().now_or_never().is_none());
        drop(running);
        assert!(two.as_mut().now_or_never().is_none());
        assert!(one.as_mut().now_or_never().is_some());
        drop((one, two));
        drop((first, second));
        assert!(!pool.has_queue());
    }
}
