//! How the rollout stands, for alerts: a stopped one waits for a person.

use std::sync::LazyLock;

use prometheus::{IntGauge, IntGaugeVec, Opts, core::Collector};

use super::Context;
use crate::store::{
    self, ring,
    rollout::{self, Progress},
    tx::SystemTx,
};

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

/// For as long as this replica runs.
pub async fn watch(context: Context) {
    let forget = || METRICS.version.reset();
    super::super::look::again_and_again("how the rollout stands", || look(&context), forget).await;
}

async fn look(context: &Context) -> Result<(), store::Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let rollout = rollout::find(&mut tx).await?;
    let stopped = rollout.state == Progress::Stopped;
    METRICS.stopped.set(stopped.into());
    for (ring, version) in ring::versions(&mut tx).await? {
        let gauge = METRICS.version.with_label_values(&[&ring]);
        gauge.set(version.into());
    }
    Ok(())
}
