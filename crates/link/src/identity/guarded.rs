//! A link that breaks off when the node at its other end is expelled, whatever runs over it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use domain::id::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::DenyList;

/// A stream to or from a node, for as long as nobody has expelled that node.
pub struct Guarded<S> {
    stream: S,
    peer: NodeId,
    /// None once it is cut.
    expelled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> std::fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl DenyList {
    /// A stream that fails as soon as this list names `peer`.
    #[must_use]
    pub fn guard<S>(&self, stream: S, peer: NodeId) -> Guarded<S> {
        let list = self.clone();
        Guarded {
            stream,
            peer,
            expelled: Some(Box::pin(async move { list.expelled(peer).await })),
        }
    }
}

impl<S> Guarded<S> {
    /// Looks whether the node was expelled, and has the reading task woken when it is.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(expelled) = &mut self.expelled
            && expelled.as_mut().poll(cx).is_ready()
        {
            tracing::warn!(node = %self.peer, "cut a link with a node that was expelled");
            self.expelled = None;
        }
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        match self.expelled {
            Some(_) => Ok(()),
            None => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("the node {} was expelled", self.peer),
            )),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// Writing only checks: an open link always reads, and has one task to wake.
impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
