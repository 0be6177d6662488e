//! Prometheus metrics of instances. Labels are ids of what runs here and nothing else, and an
//! instance's series go when it goes; beyond the largest few the rest is summed as `other`, so a
//! tenant can't grow them without end.

use std::{collections::BTreeMap, sync::Arc};

use domain::id::InstanceId;
use prometheus::{
    Error, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
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
    cpu: GaugeVec,
    memory: IntGaugeVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    ready: IntGaugeVec,
    restarts: IntCounterVec,
}

const LABELS: [&str; 2] = ["instance", "service"];

impl Series {
    fn new() -> Result<Self, Error> {
        let cpu = Opts::new(
            "railhead_instance_cpu_cores",
            "CPU used over the last interval, in cores.",
        );
        Ok(Self {
            cpu: GaugeVec::new(cpu, &LABELS)?,
            memory: gauge("railhead_instance_memory_bytes", "Working set.")?,
            received: counter(
                "railhead_instance_network_received_bytes_total",
                "Received since the container's start.",
            )?,
            sent: counter(
                "railhead_instance_network_sent_bytes_total",
                "Sent since the container's start.",
            )?,
            ready: gauge(
                "railhead_instance_ready",
                "1 when the readiness probe passes.",
            )?,
            restarts: counter("railhead_instance_restarts_total", "Restarts in place.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.cpu,
            &self.memory,
            &self.received,
            &self.sent,
            &self.ready,
            &self.restarts,
        ]
    }

    fn reset(&self) {
        self.cpu.reset();
        self.memory.reset();
        self.received.reset();
        self.sent.reset();
        self.ready.reset();
        self.restarts.reset();
    }

    /// After a reset: counters are read from the engine whole.
    fn add(&self, instance: &str, service: &str, usage: &Usage, ready: i64, restarts: u64) {
        let labels = [instance, service];
        let cores = f64::from(usage.cpu.0) / 1_000.0;
        self.cpu.with_label_values(&labels).set(cores);
        self.memory
            .with_label_values(&labels)
            .set(signed(usage.memory.0));
        self.received
            .with_label_values(&labels)
            .inc_by(usage.received.0);
        self.sent.with_label_values(&labels).inc_by(usage.sent.0);
        self.ready.with_label_values(&labels).set(ready);
        self.restarts.with_label_values(&labels).inc_by(restarts);
    }
}

fn gauge(name: &str, help: &str) -> Result<IntGaugeVec, Error> {
    IntGaugeVec::new(Opts::new(name, help), &LABELS)
}

fn counter(name: &str, help: &str) -> Result<IntCounterVec, Error> {
    IntCounterVec::new(Opts::new(name, help), &LABELS)
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
) -> Result<(), Error> {
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
        self.series.reset();
        self.count.set(signed(observed.instances.len() as u64));
        let running: Vec<&InstanceReport> = observed
            .instances
            .iter()
            .filter(|instance| observed.running.contains(&instance.id))
            .collect();
        let (shown, others) = split(&running, &usages);
        for instance in shown {
            let usage = usages.get(&instance.id).copied().unwrap_or_default();
            self.series.add(
                &instance.id.to_string(),
                &instance.service_id.to_string(),
                &usage,
                i64::from(instance.ready),
                u64::from(instance.restarts),
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
                .map(|instance| u64::from(instance.restarts))
                .sum();
            self.series
                .add(OTHER, OTHER, &total(&used), signed(ready as u64), restarts);
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

#[cfg(test)]
mod tests {
    use domain::id::{ReleaseId, ServiceId};
    use serde_json::json;

    use super::*;

    /// Dashboards and alerts are written against these.
    #[test]
    fn the_names_stay() {
        let id = InstanceId::new();
        let report = json!({
            "id": id, "release_id": ReleaseId::new(), "service_id": ServiceId::new(),
            "state": "running", "ready": true, "restarts": 2,
        });
        let observed = Observed {
            complete: true,
            instances: vec![serde_json::from_value(report).unwrap()],
            running: [id].into(),
            ..Observed::default()
        };
        let (_seen, observed) = watch::channel(Arc::new(observed));
        let (_used, usages) = watch::channel(Arc::default());
        let registry = Registry::new();
        register(&registry, observed, usages).unwrap();
        insta::assert_snapshot!(testkit::metrics::catalogue(&registry.gather()), @"
        railhead_instance_cpu_cores{instance,service} gauge
        railhead_instance_memory_bytes{instance,service} gauge
        railhead_instance_network_received_bytes_total{instance,service} counter
        railhead_instance_network_sent_bytes_total{instance,service} counter
        railhead_instance_ready{instance,service} gauge
        railhead_instance_restarts_total{instance,service} counter
        railhead_instances{} gauge
        ");
    }
}
