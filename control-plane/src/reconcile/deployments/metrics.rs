//! How deployments end, and whose failure it was: the platform's own are what an operator watches.

use std::sync::LazyLock;

use domain::deployment::{
    cause::Cause,
    machine::{State, Step},
};
use prometheus::{IntCounterVec, Opts};

#[allow(clippy::expect_used)]
static ENDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "railhead_deployments_ended_total",
        "Deployments that have ended, by state and, for failed ones, by whose failure it was.",
    );
    let ended = IntCounterVec::new(options, &["state", "cause"]).expect("a well-formed name");
    if let Err(error) = telemetry::metrics::registry().register(Box::new(ended.clone())) {
        tracing::error!(%error, "the metrics of deployments are not served");
    }
    // Alerts ask for it from the start.
    ended.with_label_values(&["failed", Cause::Platform.as_str()]);
    ended
});

/// Serves them, before there are any.
pub(super) fn serve() {
    LazyLock::force(&ENDED);
}

/// A deployment is in a new state.
pub(super) fn observe(state: &State) {
    if !state.step.is_final() {
        return;
    }
    let failure = state
        .problem
        .as_ref()
        .filter(|_| state.step == Step::Failed);
    let cause = failure.map_or("none", |failure| Cause::of(failure).as_str());
    ENDED.with_label_values(&[state.step.as_str(), cause]).inc();
}
