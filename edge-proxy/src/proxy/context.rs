//! What is known of a request while it runs. When it ends, for whatever reason, this is what the
//! access log, the metrics and the deployment's counters are made of.

use std::{
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    id::{InstanceId, NodeId},
    name::Name,
};
use protocol::item::EdgeItem;

use super::peer::Exchange;
use super::rules::Ruled;
use crate::{
    access_log::Entry,
    decide::Refusal,
    listen::io::Connection,
    metrics::{Open, Source},
    observe::Observer,
    route::Route,
    traffic::Outcome,
    upstream::{
        counters::Counter,
        endpoint::Endpoint,
        pool::{Running, ServicePool},
        timer::{Limit, Timer},
    },
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
        /// It is ejected, and this request tries it.
        is_trial: bool,
    },
    /// An edge of another region.
    Edge(EdgeItem),
}

/// A target that takes the request.
#[derive(Debug)]
pub struct Aim {
    /// Where it goes.
    pub target: Target,
    /// That it runs there; none of another region.
    pub running: Option<Running>,
}

/// One request.
#[derive(Debug)]
pub struct RequestCtx {
    /// Who is there; none until the first phase.
    pub connection: Option<Arc<Connection>>,
    /// The route, once decided.
    pub route: Option<Arc<Route>>,
    /// What kind it is, once decided.
    pub exchange: Exchange,
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
    /// It may wait for room at this edge: it came from a user, or from an edge that knows nobody else.
    pub may_wait: bool,
    /// The edge that it is forwarded to is the last one, and this one has no instances.
    pub is_last_edge: bool,
    /// The region where an instance wants it to be answered: it gave the request back.
    pub replay: Option<Name>,
    /// What the one who answers then learns of it.
    pub replay_source: Option<String>,
    /// The instance that shall answer, if it can be used.
    pub wanted: Option<InstanceId>,
    /// From 0 to 99: among the deployments of the service it decides where all attempts go.
    pub draw: u8,
    /// The attempt that comes next costs nobody an answer when it fails: another one may follow it.
    pub may_follow: bool,
    /// No attempt begins before: this edge was exhausted.
    pub rests_until: Option<Instant>,
    /// The descriptor of the upstream connection.
    pub upstream: Option<RawFd>,
    /// Runs from the end of the request to the first byte of the answer.
    pub timer: Option<Timer>,
    /// Runs from the connection to the end of the answer.
    pub total_timer: Option<Timer>,
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
    /// The answer must have ended by then.
    deadline: Option<Instant>,
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
    /// A region has instances, and none of them has room.
    pub full: bool,
}

impl RequestCtx {
    /// A request whose head was just read.
    #[must_use]
    pub fn new(observer: Arc<Observer>) -> Self {
        let open = observer.metrics.begin_request();
        Self {
            connection: None,
            route: None,
            exchange: Exchange::default(),
            ruled: None,
            hops: 0,
            target: None,
            tried: Tried::default(),
            waits_until: None,
            may_wait: true,
            is_last_edge: false,
            replay: None,
            replay_source: None,
            wanted: None,
            draw: rand::random_range(0..100),
            may_follow: false,
            rests_until: None,
            upstream: None,
            timer: None,
            total_timer: None,
            received: 0,
            answered: false,
            refusal: None,
            span: tracing::Span::none(),
            entry: None,
            begun: Instant::now(),
            deadline: None,
            running: None,
            observer,
            _open: open,
        }
    }

    /// The attempt is over: another request may have its place.
    pub fn leave(&mut self) {
        self.running = None;
    }

    /// The next attempt goes here.
    pub fn aim(&mut self, aim: Aim, now: Instant) {
        let Aim { target, running } = aim;
        if let (None, Target::Instance { pool, .. }) = (&self.target, &target) {
            pool.shared.retries.request(now);
        }
        self.running = running;
        self.upstream = None;
        self.timer = None;
        self.total_timer = None;
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

    /// From its head on it has so long.
    pub fn ends_within(&mut self, total: Duration) {
        self.deadline = self.begun.checked_add(total);
    }

    /// Of its time, if that has an end.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// The time of the current attempt that is over.
    #[must_use]
    pub fn expired(&self) -> Option<Limit> {
        let mut timers = [&self.total_timer, &self.timer].into_iter().flatten();
        timers.find_map(Timer::expired)
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
            Some(Target::Instance { pool, endpoint, .. }) => {
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
            Some(
                Refusal::UnknownHost
                | Refusal::UnknownPath
                | Refusal::Misdirected
                | Refusal::Blocked(_),
            ) => Outcome::Unrouted,
            // Its service wants it so.
            Some(Refusal::OverCapacity) => Outcome::Answered,
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
