//! Prometheus metrics of instances. Labels are ids of what runs here and nothing else, and an
//! instance's series go when it goes; beyond the largest few the rest is summed as `other`, so a
//! tenant can't grow them without end.

use std::{collections::BTreeMap, sync::Arc};

use domain::id::InstanceId;
use prometheus::{
    IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use protocol::report::{InstanceReport, Usage};
use tokio::sync::watch;

use crate::{
    reconcile::Observed,
    usage::{Usages, total},
};

/// Instances with series of their own.
const SHOWN: usize = 200;
const OTHER: &str = "other";

/// Gathers at each scrape from what is seen.
pub struct Instances {
    observed: watch::Receiver<Arc<Observed>>,
    usages: watch::Receiver<Arc<Usages>>,
    series: Series,
    count: IntGauge,
}

struct Series {
    cpu: IntGaugeVec,
    memory: IntGaugeVec,
    received: IntGaugeVec,
    sent: IntGaugeVec,
    ready: IntGaugeVec,
    restarts: IntGaugeVec,
}

impl Series {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            cpu: vec(
                "railhead_instance_cpu_millicores",
                "CPU used over the last interval, in thousandths of a core.",
            )?,
            memory: vec("railhead_instance_memory_bytes", "Working set.")?,
            received: vec(
                "railhead_instance_network_received_bytes",
                "Received since the container's start.",
            )?,
            sent: vec(
                "railhead_instance_network_sent_bytes",
                "Sent since the container's start.",
            )?,
            ready: vec(
                "railhead_instance_ready",
                "1 when the readiness probe passes.",
            )?,
            restarts: vec("railhead_instance_restarts", "Restarts in place.")?,
        })
    }

    fn all(&self) -> [&IntGaugeVec; 6] {
        [
            &self.cpu,
            &self.memory,
            &self.received,
            &self.sent,
            &self.ready,
            &self.restarts,
        ]
    }

    fn set(&self, instance: &str, service: &str, usage: &Usage, ready: i64, restarts: i64) {
        let labels = [instance, service];
        self.cpu
            .with_label_values(&labels)
            .set(i64::from(usage.cpu.0));
        self.memory
            .with_label_values(&labels)
            .set(signed(usage.memory.0));
        self.received
            .with_label_values(&labels)
            .set(signed(usage.received.0));
        self.sent
            .with_label_values(&labels)
            .set(signed(usage.sent.0));
        self.ready.with_label_values(&labels).set(ready);
        self.restarts.with_label_values(&labels).set(restarts);
    }
}

fn vec(name: &str, help: &str) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), &["instance", "service"])
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Registers the metrics of instances.
///
/// # Errors
/// When they are registered already.
pub fn register(
    registry: &Registry,
    observed: watch::Receiver<Arc<Observed>>,
    usages: watch::Receiver<Arc<Usages>>,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Instances {
        observed,
        usages,
        series: Series::new()?,
        count: IntGauge::new("railhead_instances", "Instances on this node.")?,
    }))
}

impl Instances {
    fn fill(&self) {
        let (observed, usages) = (
            Arc::clone(&self.observed.borrow()),
            Arc::clone(&self.usages.borrow()),
        );
        for series in self.series.all() {
            series.reset();
        }
        self.count.set(signed(observed.instances.len() as u64));
        let running: Vec<&InstanceReport> = observed
            .instances
            .iter()
            .filter(|instance| observed.running.contains(&instance.id))
            .collect();
        let (shown, others) = split(&running, &usages);
        for instance in shown {
            let usage = usages.get(&instance.id).copied().unwrap_or_default();
            self.series.set(
                &instance.id.to_string(),
                &instance.service_id.to_string(),
                &usage,
                i64::from(instance.ready),
                i64::from(instance.restarts),
            );
        }
        if !others.is_empty() {
            let used: BTreeMap<InstanceId, Usage> = others
                .iter()
                .filter_map(|instance| Some((instance.id, *usages.get(&instance.id)?)))
                .collect();
            let ready = others.iter().filter(|instance| instance.ready).count();
            let restarts = others
                .iter()
                .map(|instance| i64::from(instance.restarts))
                .sum();
            self.series
                .set(OTHER, OTHER, &total(&used), signed(ready as u64), restarts);
        }
    }
}

/// Those that use most memory, and the rest.
fn split<'a>(
    running: &[&'a InstanceReport],
    usages: &Usages,
) -> (Vec<&'a InstanceReport>, Vec<&'a InstanceReport>) {
    let mut shown = running.to_vec();
    shown.sort_by_key(|instance| {
        std::cmp::Reverse(usages.get(&instance.id).map_or(0, |usage| usage.memory.0))
    });
    let others = shown.split_off(SHOWN.min(shown.len()));
    (shown, others)
}

impl Collector for Instances {
    fn desc(&self) -> Vec<&Desc> {
        let series = self.series.all();
        let series = series.into_iter().flat_map(Collector::desc);
        series.chain(self.count.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.fill();
        let series = self.series.all();
        let series = series.into_iter().flat_map(Collector::collect);
        series.chain(self.count.collect()).collect()
    }
}
