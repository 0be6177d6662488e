//! The PROXY protocol, versions 1 and 2: who is at the other end of a connection that came through a load balancer.
//! The balancers that the operator trusts must send it; nobody else is believed. What follows the header is left in
//! the connection.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A balancer that hasn't sent its header by then is let go. The least that the protocol's text
/// recommends: a lost packet must not refuse a client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// `PROXY UNKNOWN` and the end of the line: no header is shorter.
const BYTES_MIN: usize = 15;
/// Of version 1, by its text.
const V1_BYTES_MAX: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 2 says of the connection beside its addresses.
const V2_BYTES_MAX: u16 = 4096;

/// Why a trusted balancer's connection is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing, or not all of it.
    #[error(
        "no PROXY protocol header within {} s; let the load balancer send it (send-proxy-v2), or take it off trusted_proxies",
        HEADER_TIMEOUT.as_secs()
    )]
    TimedOut,
    /// Something else.
    #[error(
        "no PROXY protocol header ({0}); let the load balancer send it (send-proxy-v2), or take it off trusted_proxies"
    )]
    Header(#[from] io::Error),
}

/// The load balancers that are believed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// All balancers in these networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether connections from there begin with a header.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who is really at the other end. The header is taken from the stream, and nothing else is.
    ///
    /// # Errors
    /// When a trusted balancer sends no whole header in time.
    pub async fn client<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: SocketAddr,
    ) -> Result<SocketAddr, Error> {
        if !self.contains(peer.ip()) {
            return Ok(peer);
        }
        let header = tokio::time::timeout(HEADER_TIMEOUT, read(stream)).await;
        let header = header.map_err(|_| Error::TimedOut)??;
        let (header, _) = ProxyHeader::parse(&header, ParseConfig::default())
            .map_err(|error| invalid(error.to_string()))?;
        // None: the balancer speaks for itself, as in its own health checks.
        Ok(header
            .proxied_address()
            .map_or(peer, |address| address.source))
    }
}

/// A whole header.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut header = vec![0; BYTES_MIN];
    stream.read_exact(&mut header).await?;
    if header.starts_with(V2) {
        read_v2(stream, &mut header).await?;
    } else if header.starts_with(V1) {
        read_v1(stream, &mut header).await?;
    } else {
        return Err(invalid("the connection begins with something else"));
    }
    Ok(header)
}

/// To the end of the line, byte by byte: the next one is the client's.
async fn read_v1<S: AsyncRead + Unpin>(stream: &mut S, header: &mut Vec<u8>) -> io::Result<()> {
    while !header.ends_with(b"\r\n") {
        if header.len() == V1_BYTES_MAX {
            return Err(invalid("its line has no end"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

/// Its length stands in the 15th and 16th byte.
async fn read_v2<S: AsyncRead + Unpin>(stream: &mut S, header: &mut Vec<u8>) -> io::Result<()> {
    let high = header.last().copied().unwrap_or_default();
    let low = stream.read_u8().await?;
    let length = u16::from_be_bytes([high, low]);
    if length > V2_BYTES_MAX {
        return Err(invalid(format!("it is {length} bytes long")));
    }
    header.push(low);
    let rest = stream.take(length.into()).read_to_end(header).await?;
    match rest == usize::from(length) {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

#[cfg(test)]
mod tests;
