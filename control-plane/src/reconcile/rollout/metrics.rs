//! How the rollout stands, for alerts: a stopped one waits for a person.

use std::sync::LazyLock;

use prometheus::{IntGauge, IntGaugeVec, Opts, core::Collector};

use super::View;
use crate::store::rollout::Progress;

struct Metrics {
    stopped: IntGauge,
    version: IntGaugeVec,
}

#[allow(clippy::expect_used)]
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    const NAMES: &str = "the names here are well-formed";
    let stopped = "A change of the platform was stopped by how a ring's edges fared.";
    let version = Opts::new(
        "railhead_rollout_ring_version",
        "The version that a ring's routes are rendered in.",
    );
    let metrics = Metrics {
        stopped: IntGauge::new("railhead_rollout_stopped", stopped).expect(NAMES),
        version: IntGaugeVec::new(version, &["ring"]).expect(NAMES),
    };
    register(metrics.stopped.clone());
    register(metrics.version.clone());
    metrics
});

fn register(collector: impl Collector + 'static) {
    if let Err(error) = telemetry::metrics::registry().register(Box::new(collector)) {
        tracing::error!(%error, "the rollout's metrics are not served");
    }
}

/// As it is now.
pub(super) fn show(view: &View) {
    let stopped = view.rollout.state == Progress::Stopped;
    METRICS.stopped.set(stopped.into());
    for ring in &view.rings {
        let gauge = METRICS.version.with_label_values(&[ring.ring.as_str()]);
        gauge.set(ring.version.into());
    }
}
