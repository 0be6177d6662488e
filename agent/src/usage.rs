//! What instances use: sampled from the engine every few seconds, as rates where the engine counts.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    id::InstanceId,
    quantity::{Bytes, MilliCpu},
};
use protocol::report::Usage;
use tokio::sync::watch;

use crate::{
    reconcile::Observed,
    runtime::{Runtime, Sample},
};

const INTERVAL: Duration = Duration::from_secs(5);

/// The newest usage of each running instance.
pub type Usages = BTreeMap<InstanceId, Usage>;

/// Samples until the task is dropped.
pub async fn sample(
    runtime: Arc<dyn Runtime>,
    observed: watch::Receiver<Arc<Observed>>,
    usages: watch::Sender<Arc<Usages>>,
) {
    let mut before: BTreeMap<InstanceId, (Instant, Sample)> = BTreeMap::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let running = observed.borrow().running.clone();
        let mut next = BTreeMap::new();
        for instance in running {
            match runtime.sample(instance).await {
                Ok(sample) => {
                    next.insert(instance, (Instant::now(), sample));
                }
                Err(error) => tracing::debug!(%instance, %error, "no usage this time"),
            }
        }
        let usage = |(id, now): (&InstanceId, &(Instant, Sample))| (*id, rate(before.get(id), now));
        usages.send_replace(Arc::new(next.iter().map(usage).collect()));
        before = next;
    }
}

fn rate(before: Option<&(Instant, Sample)>, (at, now): &(Instant, Sample)) -> Usage {
    let cpu = before.map_or(0, |(then, sample)| {
        let elapsed = at.duration_since(*then).as_nanos();
        let used = u128::from(now.cpu_ns.saturating_sub(sample.cpu_ns));
        (used * 1000).checked_div(elapsed).unwrap_or(0)
    });
    Usage {
        cpu: MilliCpu(u32::try_from(cpu).unwrap_or(u32::MAX)),
        memory: now.memory,
        received: now.received,
        sent: now.sent,
    }
}

/// All of them together.
#[must_use]
pub fn total(usages: &Usages) -> Usage {
    usages.values().fold(Usage::default(), |sum, usage| Usage {
        cpu: MilliCpu(sum.cpu.0.saturating_add(usage.cpu.0)),
        memory: add(sum.memory, usage.memory),
        received: add(sum.received, usage.received),
        sent: add(sum.sent, usage.sent),
    })
}

const fn add(one: Bytes, other: Bytes) -> Bytes {
    Bytes(one.0.saturating_add(other.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_core_for_two_seconds_is_500_thousandths() {
        let start = Instant::now();
        let before = (
            start,
            Sample {
                cpu_ns: 3_000_000_000,
                ..Sample::default()
            },
        );
        let now = (
            start + Duration::from_secs(2),
            Sample {
                cpu_ns: 4_000_000_000,
                memory: Bytes(7),
                ..Sample::default()
            },
        );
        let usage = rate(Some(&before), &now);
        assert_eq!((usage.cpu, usage.memory), (MilliCpu(500), Bytes(7)));
        assert_eq!(rate(None, &now).cpu, MilliCpu(0));
    }
}
