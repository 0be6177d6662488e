//! Accepts TLS connections and serves a router on them: HTTP/1.1 and HTTP/2, with the peer's address
//! and certificates as a request extension, bounded handshakes, and a drain at shutdown.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, response::Response};
use futures::future::{Either, ready};
use http::Request;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use proxy_protocol::TrustedProxies;
use rustls_pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A peer that hasn't finished its handshake by then is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that hasn't sent its request's head by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// Open connections per listener.
const CONNECTIONS_MAX: usize = 4_096;
/// What is still at work this long after the shutdown signal is cut.
const DRAIN: Duration = Duration::from_secs(20);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where; behind a trusted load balancer, from where it came to that one.
    pub address: SocketAddr,
    /// What it showed in the handshake, leaf first; empty without client authentication.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// What answers on a listener's connections.
#[derive(Debug, Clone)]
pub struct Routes<F> {
    /// Every route.
    pub router: Router,
    /// Asked first: an answer without any of them.
    pub before: F,
}

/// Serves until `shutdown`, then finishes what has begun.
pub async fn serve<F>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    proxies: TrustedProxies,
    routes: Routes<F>,
    shutdown: CancellationToken,
) where
    F: Fn(&Request<Incoming>) -> Option<Response> + Clone + Send + Sync + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            break;
        };
        let (stream, address) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: give connections time to end.
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = Connection {
            acceptor: acceptor.clone(),
            proxies: proxies.clone(),
            routes: routes.clone(),
            watcher: graceful.watcher(),
        };
        tokio::spawn(async move {
            connection.run(stream, address).await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(after = ?DRAIN, "cut connections that were still at work");
    }
}

struct Connection<F> {
    acceptor: TlsAcceptor,
    proxies: TrustedProxies,
    routes: Routes<F>,
    watcher: hyper_util::server::graceful::Watcher,
}

impl<F> Connection<F>
where
    F: Fn(&Request<Incoming>) -> Option<Response> + Send + Sync + 'static,
{
    async fn run(self, mut stream: TcpStream, address: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let address = match self.proxies.client(&mut stream, address).await {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(%address, %error, "refused a load balancer's connection");
                return;
            }
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(peer = %address, %error, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = Peer {
            address,
            certificates: certificates.iter().cloned().collect(),
        };
        let Routes { router, before } = self.routes;
        let router = TowerToHyperService::new(router.layer(Extension(peer)));
        let service = service_fn(move |request: Request<Incoming>| match before(&request) {
            Some(answer) => Either::Left(ready(Ok(answer))),
            None => Either::Right(router.call(request)),
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        server
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(200);
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(peer = %address, %error, "connection ended early");
        }
    }
}
