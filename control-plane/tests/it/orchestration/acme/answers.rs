//! What a real edge answers a certificate authority (`edge-proxy/tests/it/challenge.rs`), from the routes of one without
//! traffic.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::Request};
use http::StatusCode;
use link::follow::State;
use protocol::item::{ChallengeItem, GlobalRouteItem};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::sign::any_supported_type,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use testkit::fake_edge::FakeEdge;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::LazyConfigAcceptor;

type Routes = watch::Receiver<Arc<State<GlobalRouteItem>>>;

/// Ends when dropped.
pub struct Answers(#[expect(dead_code, reason = "held")] JoinSet<()>);

impl Answers {
    /// Over HTTP.
    pub async fn over_http(edge: &FakeEdge, address: SocketAddr) -> Self {
        let routes = edge.global_routes();
        let answer = move |request: Request| {
            let answer = over_http(&routes, &request);
            async move { answer.ok_or(StatusCode::NOT_FOUND) }
        };
        let listener = TcpListener::bind(address).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            axum::serve(listener, Router::new().fallback(answer))
                .await
                .unwrap();
        });
        Self(tasks)
    }

    /// In a TLS handshake.
    pub async fn over_tls(edge: &FakeEdge, address: SocketAddr) -> Self {
        let routes = edge.global_routes();
        let listener = TcpListener::bind(address).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                over_tls(&routes, tcp).await;
            }
        });
        Self(tasks)
    }
}

fn challenge(routes: &Routes, host: &str) -> Option<ChallengeItem> {
    let state = routes.borrow().clone();
    let entry = state.items.get(format!("challenge/{host}").as_str())?;
    match &entry.item {
        GlobalRouteItem::Challenge(item) => Some(item.clone()),
        _ => None,
    }
}

fn over_http(routes: &Routes, request: &Request) -> Option<String> {
    let host = request.headers().get("host")?.to_str().ok()?;
    let host = host.split(':').next()?;
    let item = challenge(routes, host)?;
    let asked = request
        .uri()
        .path()
        .strip_prefix("/.well-known/acme-challenge/")?;
    (asked == item.token).then_some(item.key_authorization)
}

async fn over_tls(routes: &Routes, tcp: TcpStream) {
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
    let Ok(start) = acceptor.await else { return };
    let host = start.client_hello().server_name().map(str::to_owned);
    let Some(host) = host else { return };
    let Some(item) = challenge(routes, &host) else {
        return;
    };
    let mut params = CertificateParams::new([host]).unwrap();
    let digest = Sha256::digest(item.key_authorization);
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_supported_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    if let Ok(mut stream) = start.into_stream(Arc::new(config)).await {
        let _ = stream.shutdown().await;
    }
}
