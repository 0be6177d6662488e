//! A sign of life for the supervisor at a quarter of the watchdog's time. It comes from the async runtime, and only
//! while each of its workers comes back from its tasks: one that hangs for the watchdog's time has the process
//! restarted.

use std::{sync::Mutex, time::Duration};

use tokio::{
    runtime::{Handle, RuntimeMetrics},
    time::MissedTickBehavior,
};

use crate::supervisor;

/// How often workers are looked at within the watchdog's time.
const LOOKS: u32 = 4;

/// Gives signs of life from now on, if the supervisor asks for them. Call inside the runtime.
pub fn spawn() {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return;
    };
    tokio::spawn(async move {
        let mut workers = Workers::of(&Handle::current());
        let mut ticks = tokio::time::interval(timeout / LOOKS);
        // After a pause two looks must not follow each other at once: nobody would have moved in between.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if failpoint::is_struck("deadlock") {
                deadlock();
            }
            match workers.stuck() {
                None => supervisor::alive(),
                Some(worker) => tracing::error!(
                    worker,
                    "a worker of the runtime does not come back from its task: no sign of life is given"
                ),
            }
        }
    });
}

/// The runtime's workers, and how far each was when it was looked at last.
struct Workers {
    metrics: RuntimeMetrics,
    seen: Vec<Progress>,
}

/// Both move whenever a worker parks, unparks, or has taken some turns without either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    parks_and_unparks: u64,
    busy: Duration,
}

impl Progress {
    fn is_parked(self) -> bool {
        self.parks_and_unparks % 2 == 1
    }
}

impl Workers {
    fn of(runtime: &Handle) -> Self {
        Self {
            metrics: runtime.metrics(),
            seen: Vec::new(),
        }
    }

    /// One that has been in the same task since the last look.
    fn stuck(&mut self) -> Option<usize> {
        let now: Vec<_> = (0..self.metrics.num_workers())
            .map(|worker| Progress {
                parks_and_unparks: self.metrics.worker_park_unpark_count(worker),
                busy: self.metrics.worker_total_busy_duration(worker),
            })
            .collect();
        let before = std::mem::replace(&mut self.seen, now);
        let moved = |(now, before): (&Progress, &Progress)| now.is_parked() || now != before;
        self.seen.iter().zip(&before).position(|pair| !moved(pair))
    }
}

/// A worker of the runtime waits for a lock that is never given back.
fn deadlock() {
    static LOCK: Mutex<()> = Mutex::new(());
    std::mem::forget(LOCK.lock());
    tokio::spawn(async { drop(LOCK.lock()) });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LOOK_EVERY: Duration = Duration::from_millis(20);
    const DEADLINE: Duration = Duration::from_secs(20);
    /// Much longer than a worker waits for a processor on a machine that is full of tests.
    const UNDISTURBED: Duration = Duration::from_millis(500);

    /// Looks until a worker is stuck, or until none is.
    async fn until(workers: &mut Workers, wanted: bool) {
        let looking = async {
            while workers.stuck().is_some() != wanted {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(DEADLINE, looking).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_worker_that_hangs_is_noticed_until_it_goes_on() {
        let (go_on, waits) = mpsc::channel::<()>();
        let hanging = tokio::spawn(async move { waits.recv() });
        // From a task: the test's own thread is none of the workers.
        tokio::spawn(async move {
            let mut workers = Workers::of(&Handle::current());
            until(&mut workers, true).await;
            // It is no accident of one moment.
            for _ in 0..5 {
                tokio::time::sleep(LOOK_EVERY).await;
                assert!(workers.stuck().is_some());
            }
            go_on.send(()).unwrap();
            until(&mut workers, false).await;
        })
        .await
        .unwrap();
        hanging.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn workers_that_are_busy_or_idle_are_not_stuck() {
        let busy = tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        // One is busy, one looks, one has nothing to do.
        tokio::spawn(async {
            let mut workers = Workers::of(&Handle::current());
            assert_eq!(workers.stuck(), None, "nothing is known at the first look");
            for look in 1..=4 {
                tokio::time::sleep(UNDISTURBED).await;
                assert_eq!(workers.stuck(), None, "a false alarm at look {look}");
            }
        })
        .await
        .unwrap();
        busy.abort();
    }
}
