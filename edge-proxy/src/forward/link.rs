//! Tunnels to edges of other regions: made when first needed, kept, made anew when they break.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{id::NodeId, name::Name};
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
    sender: Option<Sender>,
    /// Held by the one who dials: the others take the tunnel that comes of it.
    dialling: Arc<tokio::sync::Mutex<()>>,
    dialled: u64,
    rtt: Option<Duration>,
    avoid_until: Option<Instant>,
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

    /// The edges that may take a request, nearest first: those of `regions`, of no region in
    /// `passed`, and not tried yet.
    #[must_use]
    pub fn candidates(
        &self,
        edges: &[EdgeItem],
        regions: &[Name],
        passed: &[&Name],
        tried: &[NodeId],
    ) -> Vec<EdgeItem> {
        let now = Instant::now();
        let mut found: Vec<_> = edges
            .iter()
            .filter(|e| regions.contains(&e.region))
            .filter(|e| !passed.contains(&&e.region) && !tried.contains(&e.node_id))
            .map(|e| (self.with(e.node_id, |known| distance(known, now)), e))
            .collect();
        found.sort_by_key(|(distance, edge)| (*distance, edge.node_id));
        found.into_iter().map(|(_, edge)| edge.clone()).collect()
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
            self.with(edge.node_id, |known| {
                known.sender = None;
                known.avoid_until = Some(Instant::now() + AVOID);
            });
        }
        opened
    }

    async fn open_stream(&self, edge: &EdgeItem) -> Result<TunnelStream, Error> {
        let kept = self.with(edge.node_id, |known| known.sender.clone());
        if let Some(sender) = kept.filter(|sender| !sender.is_closed())
            && let Ok(stream) = self.connect_stream(sender, edge).await
        {
            return Ok(stream);
        }
        let sender = self.new_sender(edge).await?;
        self.connect_stream(sender, edge).await
    }

    /// Of a tunnel that was made since now: many requests at once would make as many.
    async fn new_sender(&self, edge: &EdgeItem) -> Result<Sender, Error> {
        let node = edge.node_id;
        let (dialling, before) =
            self.with(node, |known| (Arc::clone(&known.dialling), known.dialled));
        let _alone = dialling.lock().await;
        let newer = self.with(node, |known| {
            let newer = known.sender.clone().filter(|_| known.dialled > before);
            newer.filter(|sender| !sender.is_closed())
        });
        if let Some(sender) = newer {
            return Ok(sender);
        }
        let sender = self.dial(node, edge.forward_address).await?;
        self.with(node, |known| {
            known.dialled += 1;
            known.sender = Some(sender.clone());
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
        self.with(edge.node_id, |known| {
            known.rtt = Some(smooth(known.rtt, begun.elapsed()));
            known.avoid_until = None;
        });
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

/// Edges that failed lately come last, unknown ones after known ones.
fn distance(known: &Known, now: Instant) -> (bool, Duration) {
    let avoided = known.avoid_until.is_some_and(|until| now < until);
    (avoided, known.rtt.unwrap_or(Duration::from_secs(1)))
}

/// An exponentially weighted mean, one quarter the newest.
fn smooth(mean: Option<Duration>, newest: Duration) -> Duration {
    mean.map_or(newest, |mean| (mean * 3 + newest) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_edges_come_last_and_unknown_ones_after_known_ones() {
        let now = Instant::now();
        let near = Known {
            rtt: Some(Duration::from_millis(10)),
            ..Known::default()
        };
        let far = Known {
            rtt: Some(Duration::from_millis(90)),
            ..Known::default()
        };
        let failed = Known {
            rtt: Some(Duration::from_millis(1)),
            avoid_until: Some(now + AVOID),
            ..Known::default()
        };
        let order = [&near, &far, &Known::default(), &failed].map(|known| distance(known, now));
        assert!(order.is_sorted(), "{order:?}");
        assert!(!distance(&failed, now + AVOID).0);
    }
}
