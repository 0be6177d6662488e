//! Logs as JSON lines on stderr, and spans to OTLP when an endpoint is configured. Nobody waits for a log: where
//! nobody takes the lines (a disk hangs), they are dropped and counted.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::PullingGauge;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{metrics, otlp};

/// That many lines wait to be written, and no more.
const WAITING_MAX: usize = 8_192;

/// What a binary tells about itself and wants.
#[derive(Debug, Clone)]
pub struct Config {
    /// The binary's name: `control-plane`, `agent`, `edge-proxy`.
    pub service: &'static str,
    /// Base URL of an OTLP/HTTP collector, e.g. `http://127.0.0.1:4318`; no export without.
    pub otlp_endpoint: Option<String>,
    /// As in `RUST_LOG`, which goes before it; `info` without both.
    pub log_filter: Option<String>,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log filter is not understood.
    #[error(
        "the log filter \"{filter}\" is not understood: {source}; write it like info,agent=debug"
    )]
    Filter {
        /// As configured.
        filter: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter can't be built.
    #[error("spans can't be exported to {endpoint}: {source}; check telemetry.otlp_endpoint")]
    Otlp {
        /// As configured.
        endpoint: String,
        /// Why.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Called twice.
    #[error("telemetry is already running in this process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Writes the last lines and exports the last spans when dropped: keep it until the end of `main`.
#[derive(Debug)]
#[must_use = "dropping it stops logs and the export of spans"]
pub struct Guard {
    spans: Option<SdkTracerProvider>,
    _lines: WorkerGuard,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.spans.take() {
            otlp::shut_down(provider);
        }
    }
}

/// Starts logs and export for this process.
///
/// # Errors
/// [`Error`].
pub fn init(config: &Config) -> Result<Guard, Error> {
    let provider = config
        .otlp_endpoint
        .as_ref()
        .map(|endpoint| {
            otlp::provider(config.service, endpoint).map_err(|source| Error::Otlp {
                endpoint: endpoint.clone(),
                source,
            })
        })
        .transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(config.service))
            .with_filter(tracing_subscriber::filter::LevelFilter::INFO)
    });
    let (stderr, waiting) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = stderr.error_counter();
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(stderr)
        .with_filter(filter(config)?);
    tracing_subscriber::registry()
        .with(spans)
        .with(lines)
        .try_init()?;
    log_panics();
    if let Err(error) = count(dropped) {
        tracing::error!(%error, "dropped lines of the log are missing from /metrics");
    }
    Ok(Guard {
        spans: provider,
        _lines: waiting,
    })
}

fn count(dropped: ErrorCounter) -> Result<(), prometheus::Error> {
    #[expect(clippy::cast_precision_loss, reason = "a number of lines")]
    let value = move || dropped.dropped_lines() as f64;
    let gauge = PullingGauge::new(
        "railhead_log_lines_dropped",
        "Lines of the log that nobody took in time, since the start.",
        Box::new(value),
    )?;
    metrics::registry().register(Box::new(gauge))
}

fn filter(config: &Config) -> Result<EnvFilter, Error> {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .or_else(|| config.log_filter.clone())
        .unwrap_or_else(|| "info".to_owned());
    EnvFilter::builder()
        .parse(&filter)
        .map_err(|source| Error::Filter { filter, source })
}

/// A panic is a line of the log like any other, not loose text between JSON.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(location, %backtrace, "panic: {message}");
    }));
}
