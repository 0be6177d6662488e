//! Connections to instances: plain TCP, with a second handle for the first-byte timer.

use std::{
    os::fd::RawFd,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use link::exhaustion::is_exhaustion;
use pingora::{
    Error, ErrorType, OrErr, Result,
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream},
    upstreams::peer::Tracing,
};
use tokio::net::TcpStream;

use super::timer::Sockets;

/// This edge has no descriptor, memory or local port left, whomever it wanted to reach.
pub const EXHAUSTED: ErrorType = ErrorType::Custom("this edge is exhausted");

/// How one new connection to an instance is made; Pingora calls it when its pool has none.
#[derive(Debug, Clone)]
pub struct Dial {
    sockets: Arc<Sockets>,
    limit: Option<Duration>,
    made: Arc<OnceLock<RawFd>>,
}

impl Dial {
    /// A connection that must stand within `limit`.
    #[must_use]
    pub fn new(sockets: Arc<Sockets>, limit: Option<Duration>) -> Self {
        Self {
            sockets,
            limit,
            made: Arc::default(),
        }
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::InternalError, "an instance has an IP address");
        };
        let connecting = TcpStream::connect(address);
        let socket = match self.limit {
            Some(limit) => tokio::time::timeout(limit, connecting)
                .await
                .or_err_with(ErrorType::ConnectTimedout, || {
                    format!("connecting to instance {address} took more than {limit:?}")
                })?,
            None => connecting.await,
        };
        let failed = |error: std::io::Error| {
            let kind = match error.kind() {
                _ if is_exhaustion(&error) => EXHAUSTED,
                std::io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, format!("connecting to instance {address}"), error)
        };
        let socket = socket.map_err(failed)?;
        // The second handle needs a descriptor too.
        let fd = self.sockets.insert(&socket).map_err(failed)?;
        let _ = self.made.set(fd);
        Ok(socket.into())
    }
}

impl Tracing for Dial {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        if let Some(fd) = self.made.get() {
            self.sockets.remove(*fd);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}
