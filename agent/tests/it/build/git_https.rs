//! Git over https as the forges serve it: git's own CGI program behind TLS.

use std::{io, net::SocketAddr, path::PathBuf, process::Stdio, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A server's certificate and its key.
pub type Certificate = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Serves everything below `root`, to everybody; ends with the test. Its address.
pub async fn serve(host: &str, root: PathBuf, certificate: Certificate) -> String {
    let (leaf, key) = certificate;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    let listener = Listener {
        tcp: TcpListener::bind((host, 0)).await.unwrap(),
        tls: Arc::new(config).into(),
    };
    let url = format!("https://{}", listener.tcp.local_addr().unwrap());
    let routes = Router::new().fallback(backend).with_state(root);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.tcp.accept().await.unwrap();
            // Who does not trust the certificate breaks off.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// One request by CGI (RFC 3875).
async fn backend(State(root): State<PathBuf>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let header = |name: &str| {
        let value = parts.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    };
    let mut git = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = git.stdin.take().unwrap();
    stdin.write_all(&body).await.unwrap();
    drop(stdin);
    response(&git.wait_with_output().await.unwrap().stdout)
}

fn response(output: &[u8]) -> Response {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = output.split_at(end.unwrap() + 4);
    let mut response = Response::builder();
    for line in str::from_utf8(head).unwrap().lines() {
        response = match line.split_once(": ") {
            Some(("Status", status)) => response.status(&status[..3]),
            Some((name, value)) => response.header(name, value),
            None => response,
        };
    }
    response.body(Body::from(body.to_vec())).unwrap()
}
