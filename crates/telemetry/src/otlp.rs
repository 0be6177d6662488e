//! Export of spans by OTLP over HTTP. The exporter has a thread and a blocking client of its own: a
//! slow or missing collector never holds up a request, and what can't be sent is dropped.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

use crate::BuildInfo;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Spans go to `<endpoint>/v1/traces`.
pub fn provider(service: &str, endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new(
            "service.version",
            BuildInfo::current().version,
        ))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}

/// Sends what is left. In a plain thread, because the SDK blocks and a runtime must not.
pub fn shut_down(provider: SdkTracerProvider) {
    let flush = std::thread::spawn(move || provider.shutdown_with_timeout(TIMEOUT));
    match flush.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be exported"),
        Err(_) => tracing::warn!("the thread that exports the last spans panicked"),
    }
}
