//! The client's side of a connection as Pingora sees it. Pingora gets it on loan ([`Lease`]): when
//! it is done, for whatever reason, the connection comes back to the task that owns it, which
//! can read the next head, or end it in an orderly way.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::{
    http::ResponseHeader,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        TimingDigest, UniqueID, raw_connect::ProxyDigest, tls::SslDigest,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::oneshot,
};

use super::web_socket::{GOING_AWAY, Tracker};
use crate::decide::ConnInfo;

/// A client's transport: TCP, TLS over TCP, or a stream of another edge's tunnel.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> Wire for T {}

/// What the proxy learns about a request's connection, and tells it.
#[derive(Debug)]
pub struct Connection {
    /// Who is there.
    pub info: ConnInfo,
    upgraded: AtomicBool,
}

impl Connection {
    /// A new connection.
    #[must_use]
    pub fn new(info: ConnInfo) -> Arc<Self> {
        Arc::new(Self {
            info,
            upgraded: AtomicBool::new(false),
        })
    }

    /// Whether HTTP has ended on it.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    /// The proxy is about to send a 101 answer.
    pub fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Io {
    wire: Box<dyn Wire>,
    /// Bytes that were read ahead and are read again first.
    ahead: BytesMut,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    web_socket: Option<Tracker>,
    id: i32,
    alpn: ALPN,
}

/// Bytes that are read and thrown away after the answer, so that a client that still sends sees
/// the answer and not a reset.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

impl Io {
    /// Takes a connection.
    ///
    /// # Errors
    /// Never in practice: Pingora's header builder is fallible.
    pub fn new(
        wire: Box<dyn Wire>,
        connection: Arc<Connection>,
        alpn: ALPN,
    ) -> pingora::Result<Self> {
        static NEXT: AtomicI32 = AtomicI32::new(1);
        let response = Box::new(ResponseHeader::build(200, None)?);
        let user_data = Box::new(Arc::clone(&connection));
        Ok(Self {
            wire,
            ahead: BytesMut::new(),
            connection,
            digest: Arc::new(ProxyDigest::new(response, Some(user_data))),
            web_socket: None,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            alpn,
        })
    }

    /// Who is there.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The first bytes were those of HTTP/2.
    pub fn set_http2(&mut self) {
        self.alpn = ALPN::H2;
    }

    /// The bytes that were read ahead.
    pub fn take_ahead(&mut self) -> BytesMut {
        std::mem::take(&mut self.ahead)
    }

    /// Puts bytes back that were read.
    pub fn put_back(&mut self, bytes: BytesMut) {
        self.ahead = bytes;
    }

    /// Ends the connection: with a close frame when it is a WebSocket between two frames, and
    /// without a reset while the client still sends.
    pub async fn end(mut self) {
        let ending = async {
            if self.web_socket.as_ref().is_some_and(Tracker::may_close) {
                self.write_all(&GOING_AWAY).await?;
            }
            AsyncWriteExt::shutdown(&mut self.wire).await?;
            let mut thrown_away = 0;
            let mut buffer = [0; 4096];
            while thrown_away < LINGER_BYTES {
                match self.wire.read(&mut buffer).await? {
                    0 => break,
                    read => thrown_away += read,
                }
            }
            Ok::<_, io::Error>(())
        };
        // The client may be gone already; there is nobody left to tell.
        let _ = tokio::time::timeout(LINGER, ending).await;
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.wire).poll_read(cx, buf);
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..length).unwrap_or_default());
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = written
            && self.connection.is_upgraded()
        {
            self.web_socket
                .get_or_insert_default()
                .sent(buf.get(..length).unwrap_or_default());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    /// Only [`Io::end`] closes: Pingora's end of a request is not the end of the connection.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }
}

/// An [`Io`] on loan; it goes home when the lease is dropped.
#[derive(Debug)]
pub struct Lease {
    io: Option<Io>,
    home: Option<oneshot::Sender<Io>>,
    digest: Arc<ProxyDigest>,
    id: i32,
    alpn: ALPN,
}

impl Lease {
    /// Lends a connection.
    #[must_use]
    pub fn new(io: Io) -> (Self, oneshot::Receiver<Io>) {
        let (home, returned) = oneshot::channel();
        let lease = Self {
            digest: Arc::clone(&io.digest),
            id: io.id,
            alpn: io.alpn.clone(),
            io: Some(io),
            home: Some(home),
        };
        (lease, returned)
    }

    fn io(self: Pin<&mut Self>) -> io::Result<Pin<&mut Io>> {
        self.get_mut()
            .io
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(io), Some(home)) = (self.io.take(), self.home.take()) {
            // The owner is gone when the process ends; then the connection ends with it.
            let _ = home.send(io);
        }
    }
}

impl AsyncRead for Lease {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lease {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Lease {
    async fn shutdown(&mut self) {
        // A client that is gone can't be flushed to; the owner notices when it ends the connection.
        let _ = AsyncWriteExt::flush(self).await;
    }
}

impl UniqueID for Lease {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Ssl for Lease {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(self.alpn.clone())
    }
}

impl GetTimingDigest for Lease {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Lease {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Lease {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Lease {}
