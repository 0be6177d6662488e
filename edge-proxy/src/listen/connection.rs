//! The life of one client connection after its transport stands: HTTP/1.1 request by request, or
//! HTTP/2 as a whole.

use std::{sync::Arc, time::Duration};

use pingora::{
    apps::{HttpServerApp, ServerApp},
    protocols::{ALPN, http::ServerSession},
    proxy::HttpProxy,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    head,
    io::{Connection, Io, Lease, Wire},
};
use crate::{decide::Refusal, drain::Drain, error_page, observe::Observer, proxy::Edge};

/// From the connection to the first byte of a request (the handshake has its own limit).
pub const FIRST_BYTE: Duration = Duration::from_secs(15);
/// Between two requests.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A request that is on its way when the edge begins to end still gets its answer.
pub const DRAINING: Duration = Duration::from_millis(500);

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What serves requests, and when it ends.
#[derive(Clone)]
pub struct Server {
    /// Pingora with our phases.
    pub proxy: Arc<HttpProxy<Edge>>,
    /// The end.
    pub drain: Drain,
    /// Access log and metrics, for what never reaches Pingora.
    pub observer: Arc<Observer>,
}

/// Which version of HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// The first bytes say (tunnels of edges).
    Sniff,
}

/// Serves a connection up to its end.
pub async fn serve(
    server: &Server,
    wire: Box<dyn Wire>,
    connection: Arc<Connection>,
    protocol: Protocol,
) {
    let alpn = match protocol {
        Protocol::Http2 => ALPN::H2,
        Protocol::Http1 | Protocol::Sniff => ALPN::H1,
    };
    let mut io = match Io::new(wire, Arc::clone(&connection), alpn) {
        Ok(io) => io,
        Err(error) => {
            tracing::error!(%error, "preparing a connection");
            return;
        }
    };
    match protocol {
        Protocol::Http2 => http2(server, io).await,
        Protocol::Http1 => http1(server, io).await,
        Protocol::Sniff => {
            if begins_with_preface(&mut io).await {
                io.set_http2();
                http2(server, io).await;
            } else {
                http1(server, io).await;
            }
        }
    }
}

async fn http1(server: &Server, mut io: Io) {
    let mut wait = FIRST_BYTE;
    loop {
        let mut buffer = io.take_ahead();
        let begun = tokio::select! {
            biased;
            begun = head::begin(&mut io, &mut buffer, wait) => begun,
            () = server.drain.begun() => head::begin(&mut io, &mut buffer, DRAINING).await,
        };
        let read = match begun {
            Ok(()) => head::read(&mut io, &mut buffer).await,
            closed => closed,
        };
        match read {
            Ok(()) => io.put_back(buffer),
            Err(head::Error::Closed) => return io.end().await,
            Err(head::Error::Refused(refusal)) => return refuse(server, io, refusal).await,
        }
        let (reusable, returned) = one_request(server, io).await;
        match (reusable, returned) {
            (true, Some(next)) => io = next,
            (false, Some(last)) => return last.end().await,
            (_, None) => return,
        }
        wait = KEEP_ALIVE;
    }
}

/// Lends the connection to Pingora for one request; at the drain's limit it is taken back.
async fn one_request(server: &Server, io: Io) -> (bool, Option<Io>) {
    let (lease, returned) = Lease::new(io);
    let mut session = ServerSession::new_http1(Box::new(lease));
    session.set_keepalive((!server.drain.has_begun()).then_some(KEEP_ALIVE.as_secs()));
    let shutdown = server.drain.watch();
    let reusable = tokio::select! {
        biased;
        reused = server.proxy.process_new_http(session, &shutdown) => reused.is_some(),
        () = server.drain.limit() => false,
    };
    (reusable, returned.await.ok())
}

async fn http2(server: &Server, io: Io) {
    let mut io = io;
    if !begins_with_preface(&mut io).await {
        return io.end().await;
    }
    let (lease, returned) = Lease::new(io);
    let shutdown = server.drain.watch();
    tokio::select! {
        biased;
        _ = server.proxy.process_new(Box::new(lease), &shutdown) => {}
        () = server.drain.limit() => {}
    }
    if let Ok(io) = returned.await {
        io.end().await;
    }
}

/// Reads until the client's first bytes are HTTP/2's preface, or can't be; they are read again.
async fn begins_with_preface(io: &mut Io) -> bool {
    let mut buffer = io.take_ahead();
    let reading = async {
        while buffer.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&buffer) {
            if !matches!(io.read_buf(&mut buffer).await, Ok(1..)) {
                break;
            }
        }
    };
    let in_time = tokio::time::timeout(FIRST_BYTE, reading).await.is_ok();
    let begins = in_time && buffer.starts_with(H2_PREFACE);
    io.put_back(buffer);
    begins
}

async fn refuse(server: &Server, mut io: Io, refusal: Refusal) {
    let request_id = uuid::Uuid::now_v7().to_string();
    server
        .observer
        .refused_head(refusal, &request_id, &io.connection().info);
    let answer = error_page::http1(refusal, &request_id);
    // A client that does not read its answer has lost it.
    let _ = tokio::time::timeout(FIRST_BYTE, io.write_all(answer.as_bytes())).await;
    io.end().await;
}
