//! A server of a test's own, in the place of a part of the platform that nodes talk to.

use std::sync::Arc;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Answers whoever comes. Dropped, it cuts its connections as the end of a process does.
pub async fn serve(listener: TcpListener, tls: ServerConfig, router: Router) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        connections.spawn(connection(acceptor.clone(), tcp, router.clone()));
    }
}

/// Until either end has enough of it, which is for the test to judge.
async fn connection(acceptor: TlsAcceptor, tcp: TcpStream, router: Router) {
    if let Ok(stream) = acceptor.accept(tcp).await {
        let builder = auto::Builder::new(TokioExecutor::new());
        let service = TowerToHyperService::new(router);
        let _ = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}
