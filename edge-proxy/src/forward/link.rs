//! Tunnels to edges of other regions: made when first needed, kept, made anew when they break.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    id::{NodeId, ServiceId},
    name::Name,
};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use link::exhaustion::is_exhaustion;
use protocol::{item::EdgeItem, join::Role};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::TunnelStream;

/// For TCP, TLS and the stream together.
const CONNECT: Duration = Duration::from_secs(3);
/// A tunnel that does not answer a ping for this long is dead.
const PING: Duration = Duration::from_secs(5);
/// After a failure an edge is asked last for this long.
const AVOID: Duration = Duration::from_secs(5);
/// An edge that had no instance of a service, or none with room, is asked for that service after others for this long.
const LACKS: Duration = Duration::from_secs(2);
/// Services that are remembered so for one edge.
const LACKING_MAX: usize = 4096;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Why a request can't be forwarded to an edge.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answered in time.
    #[error("the edge at {0} did not take a forwarded request within {CONNECT:?}")]
    TimedOut(SocketAddr),
    /// TCP or TLS failed.
    #[error("connecting to the edge at {address}: {source}")]
    Connect {
        /// The edge.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The tunnel broke.
    #[error("the tunnel to the edge at {address}: {source}")]
    Tunnel {
        /// The edge.
        address: SocketAddr,
        /// Why.
        source: hyper::Error,
    },
    /// It refused.
    #[error("the edge at {address} refused a forwarded request with {status}")]
    Refused {
        /// The edge.
        address: SocketAddr,
        /// Its answer.
        status: StatusCode,
    },
    /// Our own certificate can't be used.
    #[error("preparing mTLS to other edges: {0}")]
    Tls(#[from] rustls::Error),
}

type Sender = SendRequest<Empty<Bytes>>;

#[derive(Default)]
struct Known {
    /// To this address: an edge may move.
    sender: Option<(SocketAddr, Sender)>,
    /// Held by the one who dials: the others take the tunnel that comes of it.
    dialling: Arc<tokio::sync::Mutex<()>>,
    dialled: u64,
    rtt: Option<Duration>,
    avoid_until: Option<Instant>,
    lacking_until: HashMap<ServiceId, Instant>,
}

impl Known {
    fn sender_to(&self, address: SocketAddr) -> Option<Sender> {
        let (of, sender) = self.sender.as_ref()?;
        let is_good = *of == address && !sender.is_closed();
        is_good.then(|| sender.clone())
    }

    fn answered_within(&mut self, time: Duration) {
        self.rtt = Some(smooth(self.rtt, time));
        self.avoid_until = None;
    }

    fn failed(&mut self, now: Instant) {
        self.sender = None;
        self.avoid_until = Some(now + AVOID);
    }

    fn lacks(&mut self, service: ServiceId, now: Instant) {
        self.lacking_until.retain(|_, until| now < *until);
        if self.lacking_until.len() < LACKING_MAX {
            self.lacking_until.insert(service, now + LACKS);
        }
    }
}

/// The tunnels of this edge.
pub struct Links {
    identity: link::identity::Identity,
    by_edge: Mutex<HashMap<NodeId, Known>>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

impl Links {
    /// No tunnel yet.
    #[must_use]
    pub fn new(identity: link::identity::Identity) -> Self {
        Self {
            identity,
            by_edge: Mutex::default(),
        }
    }

    fn with<T>(&self, edge: NodeId, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.by_edge.lock().unwrap_or_else(PoisonError::into_inner);
        change(known.entry(edge).or_default())
    }

    /// The edges that may take a request for a service, nearest first: those of `regions`, of no region in
    /// `passed`, and not tried yet.
    #[must_use]
    pub fn candidates(
        &self,
        service: ServiceId,
        edges: &[EdgeItem],
        regions: &[Name],
        passed: &[&Name],
        tried: &[NodeId],
    ) -> Vec<EdgeItem> {
        let now = Instant::now();
        let from = |edge| self.with(edge, |known| distance(known, service, now));
        let mut found: Vec<_> = edges
            .iter()
            .filter(|e| regions.contains(&e.region))
            .filter(|e| !passed.contains(&&e.region) && !tried.contains(&e.node_id))
            .map(|e| (from(e.node_id), e))
            .collect();
        found.sort_by_key(|(distance, edge)| (*distance, edge.node_id));
        found.into_iter().map(|(_, edge)| edge.clone()).collect()
    }

    /// The edge had no instance of the service, or none with room.
    pub fn lacks(&self, edge: NodeId, service: ServiceId) {
        self.with(edge, |known| known.lacks(service, Instant::now()));
    }

    /// Forgets the edges that there are no more.
    pub fn retain(&self, is_there: impl Fn(NodeId) -> bool) {
        let mut known = self.by_edge.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|edge, _| is_there(*edge));
    }

    /// How long an edge takes to answer, as a mean of which the newest is a quarter.
    ///
    /// # Errors
    /// [`Error`]; the edge is asked last for a while.
    pub async fn measure(&self, edge: &EdgeItem) -> Result<Duration, Error> {
        let address = edge.forward_address;
        let measured = tokio::time::timeout(CONNECT, self.round_trip(edge)).await;
        let measured = measured.unwrap_or(Err(Error::TimedOut(address)));
        self.with(edge.node_id, |known| match &measured {
            Ok(time) => known.answered_within(*time),
            Err(error) if is_exhaustion(error) => {}
            Err(_) => known.failed(Instant::now()),
        });
        measured?;
        let mean = self.with(edge.node_id, |known| known.rtt);
        Ok(mean.unwrap_or_default())
    }

    /// Any request but a `CONNECT` is answered at once, by a refusal.
    async fn round_trip(&self, edge: &EdgeItem) -> Result<Duration, Error> {
        let address = edge.forward_address;
        let broken = |source| Error::Tunnel { address, source };
        let mut sender = match self.with(edge.node_id, |known| known.sender_to(address)) {
            Some(sender) => sender,
            None => self.new_sender(edge).await?,
        };
        sender.ready().await.map_err(broken)?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = http::Uri::from_static("https://edge.railhead.internal/");
        let begun = Instant::now();
        sender.send_request(request).await.map_err(broken)?;
        Ok(begun.elapsed())
    }

    /// A stream to an edge.
    ///
    /// # Errors
    /// [`Error`]; the edge is asked last for a while.
    pub async fn open(&self, edge: &EdgeItem) -> Result<TunnelStream, Error> {
        let address = edge.forward_address;
        let opened = tokio::time::timeout(CONNECT, self.open_stream(edge)).await;
        let opened = opened.unwrap_or(Err(Error::TimedOut(address)));
        if opened.as_ref().is_err_and(|error| !is_exhaustion(error)) {
            self.with(edge.node_id, |known| known.failed(Instant::now()));
        }
        opened
    }

    async fn open_stream(&self, edge: &EdgeItem) -> Result<TunnelStream, Error> {
        let kept = self.with(edge.node_id, |known| known.sender_to(edge.forward_address));
        if let Some(sender) = kept
            && let Ok(stream) = self.connect_stream(sender, edge).await
        {
            return Ok(stream);
        }
        let sender = self.new_sender(edge).await?;
        self.connect_stream(sender, edge).await
    }

    /// Of a tunnel that was made since now: many requests at once would make as many.
    async fn new_sender(&self, edge: &EdgeItem) -> Result<Sender, Error> {
        let (node, address) = (edge.node_id, edge.forward_address);
        let (dialling, before) =
            self.with(node, |known| (Arc::clone(&known.dialling), known.dialled));
        let _alone = dialling.lock().await;
        let newer = self.with(node, |known| {
            let newer = known.sender_to(address);
            newer.filter(|_| known.dialled > before)
        });
        if let Some(sender) = newer {
            return Ok(sender);
        }
        let sender = self.dial(node, address).await?;
        self.with(node, |known| {
            known.dialled += 1;
            known.sender = Some((address, sender.clone()));
        });
        Ok(sender)
    }

    async fn connect_stream(
        &self,
        mut sender: Sender,
        edge: &EdgeItem,
    ) -> Result<TunnelStream, Error> {
        let address = edge.forward_address;
        let broken = |source| Error::Tunnel { address, source };
        sender.ready().await.map_err(broken)?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = http::Uri::from_static("edge.railhead.internal:443");
        let begun = Instant::now();
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(Error::Refused {
                address,
                status: response.status(),
            });
        }
        let elapsed = begun.elapsed();
        self.with(edge.node_id, |known| known.answered_within(elapsed));
        let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
        Ok(TunnelStream::new(upgraded))
    }

    async fn dial(&self, edge: NodeId, address: SocketAddr) -> Result<Sender, Error> {
        let connect = |source| Error::Connect { address, source };
        let broken = |source| Error::Tunnel { address, source };
        let peers = link::tls::Peers {
            role: Some(Role::Edge),
            node_id: Some(edge),
            ..link::tls::Peers::default()
        };
        let mut config = link::tls::client_config(&self.identity, peers)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(address).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        let name = ServerName::from(address.ip());
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(connect)?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(self.identity.denied().guard(tls, edge)))
            .await
            .map_err(broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::info!(%error, %address, "the tunnel to another edge ended");
            }
        });
        Ok(sender)
    }
}

/// Edges that failed lately come last, before them those that lacked the service, and unknown ones after known ones.
fn distance(known: &Known, service: ServiceId, now: Instant) -> (bool, bool, Duration) {
    let is_before = |until: &Instant| now < *until;
    let avoided = known.avoid_until.as_ref().is_some_and(is_before);
    let lacks = known.lacking_until.get(&service).is_some_and(is_before);
    let rtt = known.rtt.unwrap_or(Duration::from_secs(1));
    (avoided, lacks, rtt)
}

/// An exponentially weighted mean, one quarter the newest.
fn smooth(mean: Option<Duration>, newest: Duration) -> Duration {
    mean.map_or(newest, |mean| (mean * 3 + newest) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rtt_ms: u64) -> Known {
        Known {
            rtt: Some(Duration::from_millis(rtt_ms)),
            ..Known::default()
        }
    }

    #[test]
    fn failed_edges_come_last_and_those_that_lack_the_service_before_them() {
        let (service, now) = (ServiceId::new(), Instant::now());
        let (near, far) = (at(10), at(90));
        let (mut lacking, mut failed) = (at(2), at(1));
        lacking.lacks(service, now);
        failed.failed(now);
        let order = [&near, &far, &Known::default(), &lacking, &failed]
            .map(|known| distance(known, service, now));
        assert!(order.is_sorted(), "{order:?}");
        let other = ServiceId::new();
        assert!(distance(&lacking, other, now) < distance(&near, other, now));
        let later = now + AVOID;
        assert!(distance(&failed, service, later) < distance(&lacking, service, later));
        assert!(distance(&lacking, service, later) < distance(&near, service, later));
    }

    #[test]
    fn a_mean_follows_slowly_and_an_answer_ends_a_failure() {
        let now = Instant::now();
        let mut known = Known::default();
        known.failed(now);
        known.answered_within(Duration::from_millis(100));
        known.answered_within(Duration::from_millis(20));
        assert_eq!(known.rtt, Some(Duration::from_millis(80)));
        assert!(!distance(&known, ServiceId::new(), now).0);
    }

    #[test]
    fn however_many_services_an_edge_lacks_so_many_are_remembered() {
        let (mut known, now) = (Known::default(), Instant::now());
        for _ in 0..LACKING_MAX + 10 {
            known.lacks(ServiceId::new(), now);
        }
        assert_eq!(known.lacking_until.len(), LACKING_MAX);
        known.lacks(ServiceId::new(), now + LACKS);
        assert_eq!(known.lacking_until.len(), 1, "old ones are forgotten");
    }
}
