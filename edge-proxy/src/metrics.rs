//! Prometheus metrics. Label values are bounded: a tenant can't grow them without end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{id::ServiceId, name::Name};
use prometheus::{
    Error, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, core::Collector,
};

use crate::{decide::Refusal, traffic::Traffic};

/// Services with a label of their own; the others share `other`.
const SERVICES: usize = 500;
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An instance of this region.
    Instance,
    /// Another region.
    Region,
    /// The edge itself.
    Edge,
}

impl Source {
    const fn label(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Region => "region",
            Self::Edge => "edge",
        }
    }
}

/// The edge's metrics.
#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    first_byte: Histogram,
    service_requests: IntCounterVec,
    services: Mutex<HashMap<ServiceId, String>>,
    refusals: IntCounterVec,
    in_flight: IntGauge,
    waiting: IntGauge,
    connections: IntGauge,
    refused_connections: IntCounterVec,
    upstream_failures: IntCounterVec,
    retries: IntCounter,
    retries_refused: IntCounter,
    log_dropped: IntCounter,
    items_refused: IntCounterVec,
    generation: IntGaugeVec,
    routes: IntGaugeVec,
    round_trip: GaugeVec,
    replays: IntCounter,
    rule_decisions: IntCounterVec,
    limit_degraded: IntGauge,
    leases: IntCounterVec,
    geo_loads: IntCounterVec,
    /// The whole of it, for the report.
    pub traffic: Traffic,
}

/// Counts something as open as long as it lives.
#[derive(Debug)]
pub struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, Error> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::with_opts(Opts::new(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::with_opts(Opts::new(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, Error> {
        let opts = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let to = Register(registry);
        let first_byte = HistogramOpts::new(
            "railhead_edge_first_byte_seconds",
            "From the request's head to the first byte of the answer.",
        );
        Ok(Self {
            requests: to.counters(
                "railhead_edge_requests_total",
                "Requests by answer.",
                &["source", "class", "protocol"],
            )?,
            duration: to.histograms(
                "railhead_edge_request_duration_seconds",
                "Duration of requests.",
                &["source"],
            )?,
            first_byte: to.add(Histogram::with_opts(first_byte.buckets(BUCKETS.to_vec()))?)?,
            service_requests: to.counters(
                "railhead_edge_service_requests_total",
                "Requests by service; beyond 500 services \"other\".",
                &["service", "class"],
            )?,
            services: Mutex::default(),
            refusals: to.counters(
                "railhead_edge_refusals_total",
                "Answers that the edge made itself.",
                &["code"],
            )?,
            in_flight: to.gauge("railhead_edge_requests_in_flight", "Requests that run now.")?,
            waiting: to.gauge(
                "railhead_edge_requests_waiting",
                "Requests that wait for room at their service's instances.",
            )?,
            connections: to.gauge("railhead_edge_connections", "Open client connections.")?,
            refused_connections: to.counters(
                "railhead_edge_connections_refused_total",
                "Connections that never carried a request.",
                &["reason"],
            )?,
            upstream_failures: to.counters(
                "railhead_edge_upstream_failures_total",
                "Attempts that failed.",
                &["kind"],
            )?,
            retries: to.counter(
                "railhead_edge_retries_total",
                "Requests that were tried again.",
            )?,
            retries_refused: to.counter(
                "railhead_edge_retries_refused_total",
                "Requests that were not tried again because a fifth of their service's was.",
            )?,
            log_dropped: to.counter(
                "railhead_edge_access_log_dropped_total",
                "Lines dropped because the log was slower than the traffic.",
            )?,
            items_refused: to.counters(
                "railhead_edge_items_refused_total",
                "Items of feeds that can't be used; the last good one serves on.",
                &["feed"],
            )?,
            generation: to.gauges(
                "railhead_edge_feed_generation",
                "The applied generation.",
                &["feed"],
            )?,
            routes: to.gauges("railhead_edge_routes", "What is routed.", &["kind"])?,
            round_trip: to.add(GaugeVec::new(
                Opts::new(
                    "railhead_edge_round_trip_seconds",
                    "To the edge of another region that answered last.",
                ),
                &["region"],
            )?)?,
            replays: to.counter(
                "railhead_edge_replays_total",
                "Requests that an instance gave back to be answered elsewhere.",
            )?,
            rule_decisions: to.counters(
                "railhead_edge_rule_decisions_total",
                "Requests that a rule ended or let through, or would have ended; by service as above.",
                &["service", "action", "dry_run"],
            )?,
            limit_degraded: to.gauge(
                "railhead_edge_limit_degraded",
                "1 while Redis can't be used, and each edge lets its share of rate limits through.",
            )?,
            leases: to.counters(
                "railhead_edge_limit_leases_total",
                "Leases of rate limits that were asked for.",
                &["result"],
            )?,
            geo_loads: to.counters(
                "railhead_edge_geo_loads_total",
                "Databases of places that were read; of one that is refused the last good one serves on.",
                &["result"],
            )?,
            traffic: Traffic::default(),
        })
    }

    /// A request ended.
    pub fn request(&self, source: Source, status: u16, protocol: &str, seconds: f64) {
        self.requests
            .with_label_values(&[source.label(), class(status), protocol])
            .inc();
        self.duration
            .with_label_values(&[source.label()])
            .observe(seconds);
    }

    /// A request of a service ended.
    pub fn service_request(&self, service: ServiceId, status: u16) {
        let label = self.service_label(service);
        self.service_requests
            .with_label_values(&[&*label, class(status)])
            .inc();
    }

    /// A rule has decided: `block`, `rate_limit` and so on.
    pub fn rule_decision(&self, service: ServiceId, action: &str, dry_run: bool) {
        let label = self.service_label(service);
        let dry_run = if dry_run { "true" } else { "false" };
        self.rule_decisions
            .with_label_values(&[&*label, action, dry_run])
            .inc();
    }

    /// For who knows whether Redis can be used.
    #[must_use]
    pub fn limit_degraded(&self) -> IntGauge {
        self.limit_degraded.clone()
    }

    /// A lease was `granted` or `refused`, or the answer was `lost`.
    pub fn lease(&self, result: &'static str) {
        self.leases.with_label_values(&[result]).inc();
    }

    /// A database was `loaded` or `refused`.
    pub fn geo_load(&self, result: &'static str) {
        self.geo_loads.with_label_values(&[result]).inc();
    }

    fn service_label(&self, service: ServiceId) -> String {
        let mut known = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.get(&service) {
            return label.clone();
        }
        if known.len() >= SERVICES {
            return "other".to_owned();
        }
        known.entry(service).or_insert(service.to_string()).clone()
    }

    /// The first byte of an answer came.
    pub fn first_byte(&self, seconds: f64) {
        self.first_byte.observe(seconds);
    }

    /// The edge answers itself.
    pub fn refusal(&self, refusal: Refusal) {
        self.refusals.with_label_values(&[refusal.code()]).inc();
    }

    /// A request begins.
    #[must_use]
    pub fn begin_request(&self) -> Open {
        Open::new(&self.in_flight)
    }

    /// A request waits for room.
    #[must_use]
    pub fn wait(&self) -> Open {
        Open::new(&self.waiting)
    }

    /// Requests that run now.
    #[must_use]
    pub fn requests_in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// A connection is open.
    #[must_use]
    pub fn open_connection(&self) -> Open {
        Open::new(&self.connections)
    }

    /// A connection was turned away or ended before a request.
    pub fn refused_connection(&self, reason: &'static str) {
        self.refused_connections.with_label_values(&[reason]).inc();
    }

    /// An attempt failed: `connect`, `answer`, `exhausted`, `region`.
    pub fn upstream_failure(&self, kind: &'static str) {
        self.upstream_failures.with_label_values(&[kind]).inc();
    }

    /// A request is tried again.
    pub fn retry(&self) {
        self.retries.inc();
    }

    /// A request is not tried again: too many of its service are.
    pub fn retry_refused(&self) {
        self.retries_refused.inc();
    }

    /// For the access log's writer.
    #[must_use]
    pub fn log_dropped(&self) -> IntCounter {
        self.log_dropped.clone()
    }

    /// An item can't be used. `feed` is `routes/global` or `routes/region`.
    pub fn item_refused(&self, feed: &'static str) {
        self.items_refused.with_label_values(&[feed]).inc();
    }

    /// An edge of that region takes so long to answer.
    pub fn round_trip(&self, region: &Name, time: Duration) {
        self.round_trip
            .with_label_values(&[region.as_str()])
            .set(time.as_secs_f64());
    }

    /// A request is answered elsewhere, as an instance wants it.
    pub fn replay(&self) {
        self.replays.inc();
    }

    /// A commit was applied.
    pub fn applied(&self, feed: &'static str, generation: i64) {
        self.generation.with_label_values(&[feed]).set(generation);
    }

    /// What is routed now.
    pub fn routed(&self, kind: &'static str, count: usize) {
        self.routes
            .with_label_values(&[kind])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

const fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "none",
    }
}

/// Metrics that nobody reads, for tests.
///
/// # Errors
/// Never: the registry is new.
pub fn unregistered() -> Result<Arc<Metrics>, Error> {
    Ok(Arc::new(Metrics::new(&Registry::new())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_beyond_the_limit_share_a_label() {
        let metrics = unregistered().unwrap();
        let first = ServiceId::new();
        metrics.service_request(first, 200);
        for _ in 0..SERVICES + 10 {
            metrics.service_request(ServiceId::new(), 200);
        }
        assert_eq!(metrics.service_label(ServiceId::new()), "other");
        assert_eq!(metrics.service_label(first), first.to_string());
    }

    /// Dashboards and alerts are written against these.
    #[test]
    fn the_names_stay() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.request(Source::Instance, 200, "h2", 0.1);
        metrics.service_request(ServiceId::new(), 200);
        metrics.refusal(Refusal::UnknownHost);
        metrics.refused_connection("handshake");
        metrics.upstream_failure("connect");
        metrics.item_refused("routes/global");
        metrics.applied("routes/global", 1);
        metrics.routed("services", 1);
        metrics.rule_decision(ServiceId::new(), "block", false);
        metrics.lease("granted");
        metrics.geo_load("loaded");
        insta::assert_snapshot!(testkit::metrics::catalogue(&registry.gather()), @"
        railhead_edge_access_log_dropped_total{} counter
        railhead_edge_connections_refused_total{reason} counter
        railhead_edge_connections{} gauge
        railhead_edge_feed_generation{feed} gauge
        railhead_edge_first_byte_seconds{} histogram
        railhead_edge_geo_loads_total{result} counter
        railhead_edge_items_refused_total{feed} counter
        railhead_edge_limit_degraded{} gauge
        railhead_edge_limit_leases_total{result} counter
        railhead_edge_refusals_total{code} counter
        railhead_edge_replays_total{} counter
        railhead_edge_request_duration_seconds{source} histogram
        railhead_edge_requests_in_flight{} gauge
        railhead_edge_requests_total{class,protocol,source} counter
        railhead_edge_requests_waiting{} gauge
        railhead_edge_retries_refused_total{} counter
        railhead_edge_retries_total{} counter
        railhead_edge_routes{kind} gauge
        railhead_edge_rule_decisions_total{action,dry_run,service} counter
        railhead_edge_service_requests_total{class,service} counter
        railhead_edge_upstream_failures_total{kind} counter
        ");
    }
}
