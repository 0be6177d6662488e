//! What is known of a request while it runs. When it ends, for whatever reason, this is what the
//! access log, the metrics and the deployment's counters are made of.

use std::{
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::id::{InstanceId, NodeId};
use protocol::item::EdgeItem;

use super::rules::Ruled;
use crate::{
    access_log::Entry,
    decide::Refusal,
    listen::io::Connection,
    metrics::{Open, Source},
    observe::Observer,
    route::table::Route,
    traffic::Outcome,
    upstream::{counters::Counter, endpoint::Endpoint, first_byte::Timer, pool::ServicePool},
};

/// Where the current attempt goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// An instance of this region.
    Instance {
        /// Its service.
        pool: Arc<ServicePool>,
        /// The instance.
        endpoint: Arc<Endpoint>,
    },
    /// An edge of another region.
    Edge(EdgeItem),
}

/// One request.
#[derive(Debug)]
pub struct RequestCtx {
    /// Who is there; none until the first phase.
    pub connection: Option<Arc<Connection>>,
    /// The route, once decided.
    pub route: Option<Arc<Route>>,
    /// What the service's rules have decided, once they were asked here.
    pub ruled: Option<Box<Ruled>>,
    /// Edges it came through.
    pub hops: u8,
    /// Where the current attempt goes.
    pub target: Option<Target>,
    /// What failed before.
    pub tried: Tried,
    /// All its waits for a target end then; none before the first.
    pub waits_until: Option<Instant>,
    /// No attempt begins before: this edge was exhausted.
    pub rests_until: Option<Instant>,
    /// The descriptor of the upstream connection.
    pub upstream: Option<RawFd>,
    /// Runs from the end of the request to the first byte of the answer.
    pub timer: Option<Timer>,
    /// Bytes of the request's body so far.
    pub received: u64,
    /// An answer of an instance or another region has begun.
    pub answered: bool,
    /// Why the edge answers itself.
    pub refusal: Option<Refusal>,
    /// The request's span, whose context goes on.
    pub span: tracing::Span,
    /// The log's line in the making.
    pub entry: Option<Box<Entry>>,
    begun: Instant,
    running: Option<Running>,
    observer: Arc<Observer>,
    _open: Open,
}

/// Attempts that failed.
#[derive(Debug, Default)]
pub struct Tried {
    /// Instances that broke off.
    pub instances: Vec<InstanceId>,
    /// Instances that took no connection: another attempt is worth it once a probe has passed since.
    pub refused: Vec<InstanceId>,
    /// Edges.
    pub edges: Vec<NodeId>,
    /// Attempts that reached an instance or edge and broke.
    pub broken: u32,
}

/// A request that runs at an endpoint.
#[derive(Debug)]
struct Running(Arc<Endpoint>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl RequestCtx {
    /// A request whose head was just read.
    #[must_use]
    pub fn new(observer: Arc<Observer>) -> Self {
        let open = observer.metrics.begin_request();
        Self {
            connection: None,
            route: None,
            ruled: None,
            hops: 0,
            target: None,
            tried: Tried::default(),
            waits_until: None,
            rests_until: None,
            upstream: None,
            timer: None,
            received: 0,
            answered: false,
            refusal: None,
            span: tracing::Span::none(),
            entry: None,
            begun: Instant::now(),
            running: None,
            observer,
            _open: open,
        }
    }

    /// The next attempt goes here.
    pub fn aim(&mut self, target: Target, now: Instant) {
        self.running = match &target {
            Target::Instance { endpoint, .. } => {
                endpoint.begin(now);
                Some(Running(Arc::clone(endpoint)))
            }
            Target::Edge(_) => None,
        };
        self.upstream = None;
        self.timer = None;
        // A repeated body is sent, and counted, from its beginning.
        self.received = 0;
        if let Some(entry) = &mut self.entry {
            entry.tries += 1;
        }
        self.target = Some(target);
    }

    /// Since the head was read.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// An answer begins.
    pub fn answer_begins(&mut self) {
        self.timer = None;
        self.answered = true;
        let elapsed = self.elapsed().as_secs_f64();
        self.observer.metrics.first_byte(elapsed);
        if let Some(entry) = &mut self.entry {
            entry.first_byte_ms = Some(millis(elapsed));
        }
    }

    /// The client broke off.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.entry.as_ref().map_or("", |entry| &entry.request_id)
    }

    /// The request has ended: writes it down. Only the first call counts.
    pub fn finish(&mut self, status: u16, sent: u64, cut: bool) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        let seconds = self.elapsed().as_secs_f64();
        entry.status = status;
        entry.sent = sent;
        entry.received = self.received;
        entry.cut = cut;
        entry.error = self.refusal.map(Refusal::code);
        entry.duration_ms = millis(seconds);
        self.describe_target(&mut entry);
        self.count(&entry, seconds);
        self.span
            .record("http.response.status_code", u64::from(status));
        self.observer.log.write(entry);
    }

    fn describe_target(&self, entry: &mut Entry) {
        entry.service_id = self.route.as_ref().map(|route| route.service_id);
        match &self.target {
            Some(Target::Instance { pool, endpoint }) => {
                entry.deployment_id = Some(pool.deployment_id);
                entry.instance_id = Some(endpoint.spec.instance_id);
            }
            Some(Target::Edge(edge)) => entry.forwarded_to = Some(edge.region.clone()),
            None => {}
        }
    }

    fn count(&self, entry: &Entry, seconds: f64) {
        let metrics = &self.observer.metrics;
        let source = match (&self.target, self.refusal) {
            (Some(Target::Instance { .. }), None) => Source::Instance,
            (Some(Target::Edge(_)), None) => Source::Region,
            _ => Source::Edge,
        };
        metrics.request(source, entry.status, entry.protocol, seconds);
        if let Some(refusal) = self.refusal {
            metrics.refusal(refusal);
        }
        if let Some(service) = entry.service_id {
            metrics.service_request(service, entry.status);
        }
        // Cut before any answer: the user left.
        let cut = entry.cut && entry.status != 0;
        metrics.traffic.record(self.outcome(cut));
    }

    fn outcome(&self, cut: bool) -> Outcome {
        match self.refusal {
            Some(Refusal::UnknownHost | Refusal::Misdirected | Refusal::Blocked(_)) => {
                Outcome::Unrouted
            }
            _ if self.has_failed(cut) => Outcome::Failed,
            _ => Outcome::Answered,
        }
    }

    /// Whether the user got nothing whole, and not by the application's or the user's own doing.
    #[must_use]
    pub fn has_failed(&self, cut: bool) -> bool {
        cut || self.refusal.is_some_and(Refusal::is_failure)
    }

    /// Counts the request on the deployment whose endpoints serve here; a request that another
    /// region answered is counted there.
    pub fn count_on(&self, counter: &Counter, failed: bool) {
        let answered_elsewhere = matches!(self.target, Some(Target::Edge(_)));
        if failed || !answered_elsewhere {
            counter.record(failed);
        }
    }
}

fn millis(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

impl Drop for RequestCtx {
    /// A request that was cut off with its connection never reaches Pingora's last phase.
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.finish(0, 0, true);
        }
    }
}
