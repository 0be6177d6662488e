//! How each reconciler fares: turns by outcome, their time, and when it last succeeded.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, core::Collector};

struct Metrics {
    turns: IntCounterVec,
    duration: HistogramVec,
    last_success: GaugeVec,
    refused: IntCounterVec,
}

/// Reconcilers that write by comparing with what they have read.
const COMPARING: [&str; 3] = ["builds", "deployments", "evaluations"];

#[allow(clippy::expect_used)]
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    const NAMES: &str = "the names here are well-formed";
    let turns = Opts::new("railhead_reconcile_turns_total", "Turns of a reconciler.");
    let duration = HistogramOpts::new(
        "railhead_reconcile_duration_seconds",
        "Time that a turn of a reconciler took.",
    );
    let success = Opts::new(
        "railhead_reconcile_last_success_timestamp_seconds",
        "When a reconciler last ended a turn without an error.",
    );
    let refused = Opts::new(
        "railhead_reconcile_refused_total",
        "Writes that were refused because the row was no longer as it had been read.",
    );
    let metrics = Metrics {
        turns: IntCounterVec::new(turns, &["task", "outcome"]).expect(NAMES),
        duration: HistogramVec::new(duration, &["task"]).expect(NAMES),
        last_success: GaugeVec::new(success, &["task"]).expect(NAMES),
        refused: IntCounterVec::new(refused, &["task"]).expect(NAMES),
    };
    for task in COMPARING {
        metrics.refused.with_label_values(&[task]);
    }
    register(metrics.turns.clone());
    register(metrics.duration.clone());
    register(metrics.last_success.clone());
    register(metrics.refused.clone());
    metrics
});

fn register(collector: impl Collector + 'static) {
    if let Err(error) = telemetry::metrics::registry().register(Box::new(collector)) {
        tracing::error!(%error, "the reconcilers' metrics are not served");
    }
}

/// A turn has ended.
pub(super) fn observe(task: &str, took: Duration, succeeded: bool) {
    let outcome = if succeeded { "success" } else { "failure" };
    METRICS.turns.with_label_values(&[task, outcome]).inc();
    METRICS
        .duration
        .with_label_values(&[task])
        .observe(took.as_secs_f64());
    if succeeded {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        METRICS
            .last_success
            .with_label_values(&[task])
            .set(now.as_secs_f64());
    }
}

/// What a turn had decided was refused: another replica was there first, or there is less room than it had seen.
pub(super) fn refused(task: &str) {
    METRICS.refused.with_label_values(&[task]).inc();
}
