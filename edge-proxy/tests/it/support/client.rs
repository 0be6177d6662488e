//! Users: HTTP clients that trust the platform's CA and find every host at one edge.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{BALANCER, Ca};

pub fn tls_config(ca: &Ca, alpn: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn builder(ca: &Ca, edge: SocketAddr, alpn: &[&str]) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls_config(ca, alpn)).clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(15))
        .dns_resolver(Arc::new(Everywhere(edge)))
}

/// HTTP/2 by ALPN.
pub fn client(ca: &Ca, edge: SocketAddr) -> reqwest::Client {
    builder(ca, edge, &["h2", "http/1.1"]).build().unwrap()
}

pub fn http1_only(ca: &Ca, edge: SocketAddr) -> reqwest::Client {
    builder(ca, edge, &["http/1.1"])
        .http1_only()
        .build()
        .unwrap()
}

/// Every name is at the edge, whatever the port in the URL says.
struct Everywhere(SocketAddr);

impl reqwest::dns::Resolve for Everywhere {
    fn resolve(&self, _name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let address = self.0;
        Box::pin(async move {
            let addresses: reqwest::dns::Addrs = Box::new(std::iter::once(address));
            Ok(addresses)
        })
    }
}

/// Sends bytes over plain TCP and reads up to the end.
pub async fn raw(edge: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(edge).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = tcp.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(12), reading).await;
    assert!(read.is_ok(), "the edge holds the connection open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection as the balancer makes it, after it has said this.
pub async fn through_balancer(edge: SocketAddr, header: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((BALANCER, 0).into()).unwrap();
    let mut tcp = socket.connect(edge).await.unwrap();
    tcp.write_all(header).await.unwrap();
    tcp
}

/// What the user at this address is answered to a request on the plain port.
pub async fn as_user(edge: SocketAddr, user: &str, request: &str) -> String {
    let (kind, balancer) = match user.contains(':') {
        true => ("TCP6", "::1"),
        false => ("TCP4", "10.0.0.1"),
    };
    let header = format!("PROXY {kind} {user} {balancer} 4711 80\r\n");
    let mut tcp = through_balancer(edge, header.as_bytes()).await;
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = tcp.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(12), reading).await;
    assert!(read.is_ok(), "the edge holds the connection open");
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn raw_tls(
    ca: &Ca,
    edge: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect(tls_config(ca, &["http/1.1"]), edge, name).await
}

pub async fn connect(
    config: Arc<rustls::ClientConfig>,
    edge: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(edge).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config).connect(name, tcp).await
}
