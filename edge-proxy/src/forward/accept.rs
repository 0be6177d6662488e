//! Takes forwarded requests from edges of the platform: mTLS, HTTP/2, one `CONNECT` per request.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::name::Name;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use link::identity::DenyList;
use protocol::join::{Role, SpiffeId};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stream::TunnelStream;
use crate::{
    decide::{ConnInfo, Via},
    listen::{
        connection::{self, Protocol, Server},
        io::Connection,
    },
    state::State,
};

const HANDSHAKE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
const PING: Duration = Duration::from_secs(10);
/// Requests that one tunnel may carry at a time.
const STREAMS: u32 = 4096;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What a tunnel's end needs.
pub struct Tunnels {
    /// Serves requests.
    pub server: Server,
    /// Metrics.
    pub state: Arc<State>,
    /// Whom an operator has expelled.
    pub denied: DenyList,
}

/// mTLS that lets only edges of the platform in.
///
/// # Errors
/// When our own certificate can't be used.
pub fn acceptor(identity: &link::identity::Identity) -> Result<TlsAcceptor, rustls::Error> {
    let peers = link::tls::Peers {
        role: Some(Role::Edge),
        ..link::tls::Peers::default()
    };
    let mut config = link::tls::server_config(identity, peers)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts tunnels up to the drain.
pub async fn run(listener: TcpListener, acceptor: TlsAcceptor, tunnels: Arc<Tunnels>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = tunnels.server.drain.begun() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let (tunnels, acceptor) = (Arc::clone(&tunnels), acceptor.clone());
                let connections = tunnels.server.drain.connections().clone();
                connections.spawn(async move { tunnel(tcp, peer, &acceptor, &tunnels).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a tunnel can't be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn tunnel(tcp: TcpStream, peer: SocketAddr, acceptor: &TlsAcceptor, tunnels: &Arc<Tunnels>) {
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(%peer, %error, "an edge's handshake failed");
            return tunnels
                .state
                .metrics
                .refused_connection("edge_handshake_failed");
        }
        Err(_) => {
            return tunnels
                .state
                .metrics
                .refused_connection("handshake_timeout");
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    match link::tls::peer_spiffe_id(chain) {
        Ok(id) => serve(stream, peer, via(id), tunnels).await,
        Err(error) => tracing::warn!(%peer, %error, "an edge without identity"),
    }
}

fn via(id: SpiffeId) -> Via {
    Via {
        node_id: id.node_id,
        region: id.region,
    }
}

async fn serve(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    peer: SocketAddr,
    via: Via,
    tunnels: &Arc<Tunnels>,
) {
    let region: Name = via.region.clone();
    let stream = tunnels.denied.guard(stream, via.node_id);
    let service = hyper::service::service_fn(|request| {
        let answer = take(request, peer, via.clone(), tunnels);
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = tunnels.server.drain.begun() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = tunnels.server.drain.limit() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::info!(%region, %error, "a tunnel from another edge ended");
    }
}

/// Answers a `CONNECT` and serves what comes through it.
fn take(
    request: Request<Incoming>,
    peer: SocketAddr,
    via: Via,
    tunnels: &Arc<Tunnels>,
) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    if request.method() != Method::CONNECT {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    let server = tunnels.server.clone();
    tunnels.server.drain.connections().spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let info = ConnInfo {
                    peer: peer.ip(),
                    tls: None,
                    via: Some(via),
                };
                let stream = Box::new(TunnelStream::new(upgraded));
                connection::serve(&server, stream, Connection::new(info), Protocol::Sniff).await;
            }
            Err(error) => tracing::info!(%error, "a forwarded request ended before it began"),
        }
    });
    response
}
