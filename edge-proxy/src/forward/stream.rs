//! A stream of a tunnel as a socket.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of a tunnel. The mutex is never locked: it makes the type `Sync`, which Pingora asks for.
#[derive(Debug)]
pub struct TunnelStream(Mutex<TokioIo<Upgraded>>);

impl TunnelStream {
    /// Wraps an upgraded `CONNECT`.
    #[must_use]
    pub fn new(upgraded: Upgraded) -> Self {
        Self(Mutex::new(TokioIo::new(upgraded)))
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut TokioIo<Upgraded>> {
        let inner = self.get_mut().0.get_mut();
        Pin::new(inner.unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

impl VirtualSocket for TunnelStream {
    /// The tunnel's own connection has its options already.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
