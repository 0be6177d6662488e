//! A sink for traces: takes OTLP over HTTP and remembers which program sent which span.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value,
};
use prost::Message as _;
use tokio::task::JoinHandle;

/// A span, as far as tests care.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// `service.name` of the program.
    pub service: String,
    /// Hexadecimal.
    pub trace_id: String,
    /// The span's name.
    pub name: String,
}

/// A listening sink; it ends with its value.
pub struct Sink {
    seen: Arc<Mutex<BTreeSet<Seen>>>,
    server: JoinHandle<()>,
}

impl Sink {
    /// Listens where the platform under test sends its traces.
    pub async fn listen(address: SocketAddr) -> Result<Self> {
        let seen = Arc::new(Mutex::default());
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the sink serves");
        });
        Ok(Self { seen, server })
    }

    /// The programs that sent a span of this trace.
    pub fn services_of(&self, trace_id: &str) -> BTreeSet<String> {
        let seen = self
            .seen
            .lock()
            .expect("no test panics while it holds the lock");
        seen.iter()
            .filter(|span| span.trace_id == trace_id)
            .map(|span| span.service.clone())
            .collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(seen): State<Arc<Mutex<BTreeSet<Seen>>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut seen = seen.lock().expect("no test panics while it holds the lock");
    for resource in request.resource_spans {
        let service = resource
            .resource
            .iter()
            .flat_map(|r| &r.attributes)
            .find(|a| a.key == "service.name")
            .and_then(|a| a.value.as_ref()?.value.as_ref());
        let service = match service {
            Some(Value::StringValue(name)) => name.clone(),
            _ => "unknown".to_owned(),
        };
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            seen.insert(Seen {
                service: service.clone(),
                trace_id: hex::encode(&span.trace_id),
                name: span.name,
            });
        }
    }
    StatusCode::OK
}
