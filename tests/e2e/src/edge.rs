//! A connection to an edge as a browser would make it: TLS checked against the platform's CA, the
//! hostname in SNI, but the address chosen by the test.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Which HTTP version a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN.
    Http2,
}

/// An edge, and the name of an application behind it.
#[derive(Clone)]
pub struct Edge {
    /// Where the edge listens for HTTPS.
    pub address: SocketAddr,
    /// Server name and `Host`.
    pub host: String,
    roots: Arc<RootCertStore>,
}

impl Edge {
    /// `ca` is PEM.
    pub fn new(address: SocketAddr, host: &str, ca: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.context("reading the platform's CA")?)?;
        }
        Ok(Self {
            address,
            host: host.to_owned(),
            roots: Arc::new(roots),
        })
    }

    /// The same edge asked for another name.
    #[must_use]
    pub fn with_host(&self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..self.clone()
        }
    }

    /// A TLS connection that speaks `version`, or nothing if the edge doesn't.
    pub async fn connect(&self, version: Version) -> Result<TlsStream<TcpStream>> {
        let protocol: &[u8] = match version {
            Version::Http1 => b"http/1.1",
            Version::Http2 => b"h2",
        };
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address)
            .await
            .context("connecting")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .context("TLS handshake")?;
        anyhow::ensure!(
            stream.get_ref().1.alpn_protocol() == Some(protocol),
            "the edge did not choose {version:?}"
        );
        Ok(stream)
    }

    /// A GET with the full target for `version`.
    pub fn get(&self, version: Version, path: &str) -> Request<Full<Bytes>> {
        self.request(version, "GET", path, Bytes::new())
    }

    /// A request with the full target for `version`.
    pub fn request(
        &self,
        version: Version,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let builder = Request::builder().method(method);
        let builder = match version {
            Version::Http1 => builder.uri(path).header("host", &self.host),
            Version::Http2 => builder.uri(format!("https://{}{path}", self.host)),
        };
        builder
            .body(Full::new(body))
            .expect("a literal request is well formed")
    }

    /// One request on a connection of its own, whole answer, at most 10 s.
    pub async fn fetch(&self, version: Version, path: &str) -> Result<Response<Bytes>> {
        self.send(version, self.get(version, path)).await
    }

    /// One prepared request on a connection of its own, whole answer, at most 10 s.
    pub async fn send(
        &self,
        version: Version,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>> {
        tokio::time::timeout(
            Duration::from_secs(10),
            self.send_unbounded(version, request),
        )
        .await
        .context("no whole answer within 10 s")?
    }

    async fn send_unbounded(
        &self,
        version: Version,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>> {
        let mut sender = Sender::open(self, version).await?;
        let (parts, body) = sender.send(request).await?.into_parts();
        Ok(Response::from_parts(
            parts,
            body.collect().await?.to_bytes(),
        ))
    }
}

/// One open HTTP connection.
pub enum Sender {
    /// One request at a time.
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    /// Many at a time.
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Connects and shakes hands.
    pub async fn open(edge: &Edge, version: Version) -> Result<Self> {
        let io = TokioIo::new(edge.connect(version).await?);
        Ok(match version {
            Version::Http1 => {
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Version::Http2 => {
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        })
    }

    /// Whether the other side has said that it takes no more requests.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Waits until a request may be sent (HTTP/1.1: until the previous answer was read).
    pub async fn ready(&mut self) -> Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await?,
            Self::Http2(sender) => sender.ready().await?,
        }
        Ok(())
    }

    /// Sends one request and waits for the answer's head.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>> {
        Ok(match self {
            Self::Http1(sender) => sender.send_request(request).await?,
            Self::Http2(sender) => sender.send_request(request).await?,
        })
    }
}
