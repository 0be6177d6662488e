//! The accept loop of users' ports, and the step from a TCP connection to one that speaks HTTP: TLS
//! when the first byte is a handshake's, plain otherwise.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use proxy_protocol::TrustedProxies;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::{
    connection::{self, Protocol, Server},
    io::{Connection, Wire},
    per_address::{PerAddress, Place},
};
use crate::{
    decide::{ConnInfo, TlsInfo},
    drain::Drain,
    state::State,
    tls,
    traffic::Outcome,
};

/// From the first byte of a TLS handshake to its end.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// After accept failed (no descriptors): others may finish meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// The content type of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// A fatal alert `unrecognized_name` (RFC 8446 §6.2, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// What a user's connection needs.
pub struct Front {
    /// Serves requests.
    pub server: Server,
    /// Certificates.
    pub state: Arc<State>,
    /// The limit per address.
    pub per_address: Arc<PerAddress>,
    /// Load balancers, which say who the client is.
    pub trusted_proxies: TrustedProxies,
}

/// Accepts up to the drain.
pub async fn run(listener: TcpListener, front: Arc<Front>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = front.server.drain.begun() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => admit(tcp, peer, &front),
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn admit(tcp: TcpStream, peer: SocketAddr, front: &Arc<Front>) {
    let connections = front.server.drain.connections();
    let task = Arc::clone(front);
    if front.trusted_proxies.contains(peer.ip()) {
        connections.spawn(async move { of_balancer(tcp, peer, &task).await });
    } else if let Some(place) = enter(peer, front) {
        connections.spawn(async move { one(tcp, peer, &task, place).await });
    }
}

fn enter(peer: SocketAddr, front: &Front) -> Option<Place> {
    let place = front.per_address.enter(peer.ip());
    if place.is_none() {
        front.state.metrics.refused_connection("per_address_limit");
    }
    place
}

/// The limit is for the client that it speaks for.
async fn of_balancer(mut tcp: TcpStream, balancer: SocketAddr, front: &Front) {
    match front.trusted_proxies.client(&mut tcp, balancer).await {
        Ok(client) => {
            if let Some(place) = enter(client, front) {
                one(tcp, client, front, place).await;
            }
        }
        Err(error) => {
            tracing::debug!(%balancer, %error, "refused a load balancer's connection");
            front.state.metrics.refused_connection("proxy_header");
        }
    }
}

async fn one(tcp: TcpStream, peer: SocketAddr, front: &Front, _place: Place) {
    let _open = front.state.metrics.open_connection();
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = tokio::time::timeout(connection::FIRST_BYTE, tcp.peek(&mut first)) => peeked,
        () = draining(&front.server.drain) => return,
    };
    let is_tls = match peeked {
        Ok(Ok(1..)) => first == [TLS_HANDSHAKE],
        Ok(_) => return,
        Err(_) => return front.state.metrics.refused_connection("idle"),
    };
    if is_tls {
        serve_tls(tcp, peer, front).await;
    } else {
        let info = ConnInfo {
            peer: peer.ip().to_canonical(),
            tls: None,
            via: None,
        };
        serve(front, Box::new(tcp), info, Protocol::Http1).await;
    }
}

/// Resolves a little after the edge began to end.
async fn draining(drain: &Drain) {
    drain.begun().await;
    tokio::time::sleep(connection::DRAINING).await;
}

async fn serve(front: &Front, wire: Box<dyn Wire>, info: ConnInfo, protocol: Protocol) {
    connection::serve(&front.server, wire, Connection::new(info), protocol).await;
}

/// Why a handshake failed, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    TimedOut,
    UnrecognizedName,
    Failed,
}

impl Handshake {
    const fn reason(self) -> &'static str {
        match self {
            Self::TimedOut => "handshake_timeout",
            Self::UnrecognizedName => "unrecognized_name",
            Self::Failed => "handshake_failed",
        }
    }
}

async fn serve_tls(tcp: TcpStream, peer: SocketAddr, front: &Front) {
    let deadline = Instant::now() + HANDSHAKE;
    let shaken = timeout_at(deadline, handshake(tcp, &front.state)).await;
    match shaken.unwrap_or(Err(Handshake::TimedOut)) {
        // A certificate authority, which has seen what it wanted to see.
        Ok(None) => {}
        Ok(Some((stream, tls))) => {
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            let info = ConnInfo {
                peer: peer.ip().to_canonical(),
                tls: Some(tls),
                via: None,
            };
            serve(front, Box::new(stream), info, protocol).await;
        }
        Err(error) => {
            let metrics = &front.state.metrics;
            metrics.refused_connection(error.reason());
            if error == Handshake::UnrecognizedName {
                metrics.traffic.record(Outcome::Unrouted);
            }
        }
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Somebody who wants to be served; none when there is nobody any more.
type Shaken = Option<(TlsStream, TlsInfo)>;

async fn handshake(tcp: TcpStream, state: &State) -> Result<Shaken, Handshake> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp)
        .await
        .map_err(|_| Handshake::Failed)?;
    let hello = start.client_hello();
    let name = hello.server_name().map(str::to_ascii_lowercase);
    let is_challenge = hello
        .alpn()
        .is_some_and(|mut protocols| protocols.any(|protocol| protocol == tls::CHALLENGE_ALPN));
    if is_challenge {
        return answer_challenge(start, name.as_deref(), state).await;
    }
    let certificates = state.certificates.load();
    let found = name.and_then(|name| Some((certificates.find(&name)?, name)));
    let Some((certificate, name)) = found else {
        return Err(refuse_name(start).await);
    };
    let stream = start
        .into_stream(Arc::clone(&certificate.config))
        .await
        .map_err(|_| Handshake::Failed)?;
    let tls = TlsInfo {
        server_name: name.into(),
        names: Arc::clone(&certificate.names),
        version: version_of(&stream),
    };
    Ok(Some((stream, tls)))
}

/// Over when the authority has the certificate: it asks for nothing else (RFC 8737 §3).
async fn answer_challenge(
    start: StartHandshake<TcpStream>,
    name: Option<&str>,
    state: &State,
) -> Result<Shaken, Handshake> {
    let routes = state.routes.load_full();
    let wanted = name.and_then(|name| Some((name, routes.challenges().key_authorization(name)?)));
    let Some((name, key_authorization)) = wanted else {
        return Err(refuse_name(start).await);
    };
    let config = tls::challenge_config(name, key_authorization).map_err(|error| {
        tracing::error!(%error, hostname = name, "a certificate authority gets no answer");
        Handshake::Failed
    })?;
    let mut stream = start
        .into_stream(config)
        .await
        .map_err(|_| Handshake::Failed)?;
    if let Err(error) = stream.shutdown().await {
        tracing::debug!(%error, "a certificate authority left at once");
    }
    Ok(None)
}

fn version_of(stream: &TlsStream) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    }
}

async fn refuse_name(start: StartHandshake<TcpStream>) -> Handshake {
    let mut tcp = start.io;
    let told: io::Result<()> = async {
        tcp.write_all(&UNRECOGNIZED_NAME).await?;
        tcp.shutdown().await
    }
    .await;
    if let Err(error) = told {
        tracing::debug!(%error, "a client left during its handshake");
    }
    Handshake::UnrecognizedName
}
