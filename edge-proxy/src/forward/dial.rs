//! How Pingora gets a stream to another edge.

use std::sync::Arc;

use async_trait::async_trait;
use link::exhaustion::is_exhaustion;
use pingora::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream, virt::VirtualSocketStream},
};
use protocol::item::EdgeItem;

use super::link::Links;
use crate::upstream::connect::EXHAUSTED;

/// A stream to one edge.
#[derive(Debug)]
pub struct Dial {
    /// The tunnels.
    pub links: Arc<Links>,
    /// The edge.
    pub edge: EdgeItem,
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, _address: &SocketAddr) -> Result<Stream> {
        match self.links.open(&self.edge).await {
            Ok(stream) => Ok(VirtualSocketStream::new(Box::new(stream)).into()),
            Err(error) => {
                let kind = match is_exhaustion(&error) {
                    true => EXHAUSTED,
                    false => ErrorType::ConnectError,
                };
                Error::e_because(kind, "forwarding a request", error)
            }
        }
    }
}
