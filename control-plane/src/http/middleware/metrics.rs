//! How many requests of which route were answered with which status, and how long they took.

use std::{sync::LazyLock, time::Instant};

use http::{Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec};

static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "railhead_http_request_duration_seconds",
        "Time from the request's head to the answer's head, by route.",
    )
    .buckets(vec![
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ]);
    let labels = ["method", "route", "status"];
    #[allow(clippy::expect_used)]
    let histogram = HistogramVec::new(options, &labels).expect("the names above are well-formed");
    if let Err(error) = telemetry::metrics::registry().register(Box::new(histogram.clone())) {
        tracing::error!(%error, "the API's metrics are not served");
    }
    histogram
});

/// A request in hand.
pub struct Observation {
    began: Instant,
    method: String,
    route: String,
}

impl Observation {
    /// Starts the clock.
    pub fn begin(method: &Method, route: &str) -> Self {
        Self {
            began: Instant::now(),
            method: known(method).to_owned(),
            route: route.to_owned(),
        }
    }

    /// Stops it.
    pub fn end(self, status: StatusCode) {
        DURATION
            .with_label_values(&[self.method.as_str(), &self.route, status.as_str()])
            .observe(self.began.elapsed().as_secs_f64());
    }
}

/// Methods are a client's text: unknown ones share a label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}
