//! What becomes of a request for those who watch: the access log and the metrics.

use std::sync::Arc;

use chrono::Utc;
use domain::name::Name;

use crate::{
    access_log::{AccessLog, Entry},
    decide::{ConnInfo, Refusal},
    metrics::{Metrics, Source},
};

/// The access log and the metrics.
#[derive(Debug)]
pub struct Observer {
    /// Where lines go.
    pub log: AccessLog,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
    /// The edge's region.
    pub region: Name,
}

impl Observer {
    /// A head was refused before there was a request.
    pub fn refused_head(&self, refusal: Refusal, request_id: &str, connection: &ConnInfo) {
        self.metrics.refusal(refusal);
        self.metrics
            .request(Source::Edge, refusal.status(), "HTTP/1.1", 0.0);
        let mut entry = self.entry(connection);
        entry.request_id = request_id.to_owned();
        entry.status = refusal.status();
        entry.error = Some(refusal.code());
        self.log.write(entry);
    }

    /// An entry of which only the connection is known.
    #[must_use]
    pub fn entry(&self, connection: &ConnInfo) -> Box<Entry> {
        Box::new(Entry {
            time: Utc::now(),
            request_id: String::new(),
            traceparent: None,
            client: connection.peer,
            region: self.region.clone(),
            method: String::new(),
            host: None,
            path: String::new(),
            protocol: "HTTP/1.1",
            tls: connection.tls.as_ref().map(|tls| tls.version),
            status: 0,
            error: None,
            rule: None,
            rule_dry_run: None,
            cut: false,
            received: 0,
            sent: 0,
            first_byte_ms: None,
            duration_ms: 0.0,
            tries: 0,
            service_id: None,
            deployment_id: None,
            instance_id: None,
            forwarded_to: None,
            forwarded_from: connection.via.as_ref().map(|via| via.region.clone()),
            user_agent: None,
        })
    }
}
