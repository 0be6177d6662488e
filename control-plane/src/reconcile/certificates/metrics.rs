//! What becomes of orders at each authority.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, Opts};

#[allow(clippy::expect_used)]
static ORDERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let told = Opts::new(
        "railhead_certificate_orders_total",
        "Orders for certificates that have ended, by authority and outcome.",
    );
    let orders = IntCounterVec::new(told, &["authority", "outcome"])
        .expect("the names here are well-formed");
    if let Err(error) = telemetry::metrics::registry().register(Box::new(orders.clone())) {
        tracing::error!(%error, "the metrics of certificates are not served");
    }
    orders
});

/// An order has ended: "issued", or the code of its problem.
pub(super) fn ended(authority: &str, outcome: &str) {
    ORDERS.with_label_values(&[authority, outcome]).inc();
}
