//! W3C trace context between processes: taken from a request's `traceparent`, handed on in ours.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

/// The current span as a `traceparent`; none without OTLP export or outside any span.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes the sender's span the parent of `span`. To be called before the span is entered; a text
/// that is no `traceparent` changes nothing.
pub fn set_parent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    // Err says that nothing is exported or that the span is started already.
    let _ = span.set_parent(context);
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn with_tracer(test: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), test);
    }

    #[test]
    fn the_trace_goes_on_in_a_child() {
        with_tracer(|| {
            let span = tracing::info_span!("child");
            set_parent(&span, PARENT);
            let traceparent = span.in_scope(current_traceparent).unwrap();
            assert_eq!(traceparent[..36], PARENT[..36]);
            assert_ne!(traceparent, PARENT);
        });
    }

    #[test]
    fn rubbish_is_no_parent_and_no_span_is_no_context() {
        with_tracer(|| {
            let span = tracing::info_span!("child");
            set_parent(&span, "rubbish\n");
            assert!(span.in_scope(current_traceparent).is_some());
        });
        assert_eq!(current_traceparent(), None);
    }
}
