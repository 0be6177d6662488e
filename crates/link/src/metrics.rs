//! How a node's link stands, on its `/metrics`: what alerts about feeds and certificates look at.

use prometheus::{
    Error, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{
    Link,
    follow::{Feed, Status},
    identity::Identity,
};

/// Makes a node's feeds and certificate visible. Once per process.
///
/// # Errors
/// When the metrics are registered already.
pub fn register(registry: &Registry, link: &Link, feeds: Vec<Feed>) -> Result<(), Error> {
    let metrics = Metrics::new(link.identity().clone(), feeds)?;
    registry.register(Box::new(metrics))
}

type Value = fn(&Status) -> usize;

struct Metrics {
    feeds: Vec<Feed>,
    identity: Identity,
    generation: IntGaugeVec,
    gauges: Vec<(IntGaugeVec, Value)>,
    refusals: IntCounterVec,
    expiry: IntGauge,
}

const GAUGES: [(&str, &str, Value); 6] = [
    (
        "connected",
        "Whether the feed's stream is open.",
        |status| status.connected.into(),
    ),
    (
        "items_held",
        "Drops without a cause that the brake holds.",
        |status| status.held,
    ),
    (
        "items_orphaned",
        "Items that the control plane's new epoch does not know.",
        |status| status.orphaned,
    ),
    (
        "items_refused",
        "Items that this version can't read.",
        |status| status.refused,
    ),
    (
        "secrets_missing",
        "Secrets that items refer to but that have not come.",
        |status| status.missing_secrets,
    ),
    (
        "snapshot_damaged",
        "Whether a part of the snapshot was lost at the start.",
        |status| status.damaged.into(),
    ),
];

impl Metrics {
    fn new(identity: Identity, feeds: Vec<Feed>) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| {
            IntGaugeVec::new(
                Opts::new(format!("railhead_link_feed_{name}"), help),
                &["feed"],
            )
        };
        let gauges = GAUGES
            .into_iter()
            .map(|(name, help, value)| Ok((gauge(name, help)?, value)));
        Ok(Self {
            feeds,
            identity,
            generation: gauge("generation", "Generation of the newest stored document.")?,
            gauges: gauges.collect::<Result<_, Error>>()?,
            refusals: IntCounterVec::new(
                Opts::new(
                    "railhead_link_feed_interruptions_total",
                    "How often the stream broke off or sent something that was refused.",
                ),
                &["feed"],
            )?,
            expiry: IntGauge::new(
                "railhead_link_certificate_expiry_timestamp_seconds",
                "Last second of the node's certificate.",
            )?,
        })
    }

    fn collectors(&self) -> impl Iterator<Item = &dyn Collector> {
        let gauges = self.gauges.iter().map(|(gauge, _)| gauge as &dyn Collector);
        let others: [&dyn Collector; 3] = [&self.generation, &self.refusals, &self.expiry];
        gauges.chain(others)
    }

    fn update(&self) {
        for feed in &self.feeds {
            let (status, name) = (feed.status(), feed.tier().to_string());
            let label = &[name.as_str()];
            for (gauge, value) in &self.gauges {
                let value = i64::try_from(value(&status)).unwrap_or(i64::MAX);
                gauge.with_label_values(label).set(value);
            }
            let generation = status.commit.map_or(0, |commit| commit.generation.0);
            self.generation.with_label_values(label).set(generation);
            let refusals = self.refusals.with_label_values(label);
            refusals.inc_by(status.interruptions.saturating_sub(refusals.get()));
        }
        let not_after = self.identity.credentials().validity.not_after;
        self.expiry.set(not_after.timestamp());
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        self.collectors().flat_map(Collector::collect).collect()
    }
}
