//! The PROXY protocol, versions 1 and 2: who is at the other end of a connection that came through a
//! load balancer. The balancers that the operator trusts must send it; nobody else is believed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use proxy_header::{ParseConfig, io::ProxiedStream};
use tokio::io::AsyncRead;

/// A balancer that hasn't sent its header by then is let go. The least that the protocol's text
/// recommends: a lost packet must not refuse a client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

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

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The connection without its header, and who is really at its other end.
    ///
    /// # Errors
    /// When a trusted balancer sends no whole header in time.
    pub async fn client<S: AsyncRead + Unpin>(
        &self,
        stream: S,
        peer: SocketAddr,
    ) -> Result<(ProxiedStream<S>, SocketAddr), Error> {
        if !self.contains(peer.ip()) {
            return Ok((ProxiedStream::unproxied(stream), peer));
        }
        let header = ProxiedStream::create_from_tokio(stream, ParseConfig::default());
        let stream = tokio::time::timeout(HEADER_TIMEOUT, header)
            .await
            .map_err(|_| Error::TimedOut)??;
        // None: the balancer speaks for itself, as in its own health checks.
        let client = stream.proxy_header().proxied_address();
        let client = client.map_or(peer, |address| address.source);
        Ok((stream, client))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n";
    const V2: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x12\x67\x01\xbb";
    const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    const BALANCER: &str = "10.0.0.9:50000";

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(&["10.0.0.0/24".parse().unwrap()])
    }

    /// The client and what it sent, as the listener sees them.
    async fn receive(peer: &str, sent: &[u8]) -> Result<(SocketAddr, Vec<u8>), Error> {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(sent).await.unwrap();
        drop(far);
        let (mut stream, client) = trusted().client(near, peer.parse().unwrap()).await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok((client, rest))
    }

    #[tokio::test]
    async fn a_trusted_balancer_names_the_client_in_either_version() {
        for header in [V1, V2] {
            let (client, rest) = receive(BALANCER, &[header, b"hello"].concat())
                .await
                .unwrap();
            assert_eq!(client, "203.0.113.7:4711".parse().unwrap());
            assert_eq!(rest, b"hello");
        }
    }

    #[tokio::test]
    async fn a_mapped_address_of_a_balancer_is_its_address() {
        let (client, _) = receive("[::ffff:10.0.0.9]:50000", V2).await.unwrap();
        assert_eq!(client.ip().to_string(), "203.0.113.7");
    }

    #[tokio::test]
    async fn a_balancer_that_speaks_for_itself_is_the_client() {
        let (client, _) = receive(BALANCER, V2_LOCAL).await.unwrap();
        assert_eq!(client, BALANCER.parse().unwrap());
    }

    #[tokio::test]
    async fn a_strangers_header_is_left_to_tls_which_refuses_it() {
        let (client, rest) = receive("192.0.2.1:9", V2).await.unwrap();
        assert_eq!(
            (client, rest.as_slice()),
            ("192.0.2.1:9".parse().unwrap(), V2)
        );
    }

    #[tokio::test]
    async fn a_balancer_without_a_whole_header_is_refused() {
        for sent in [&b"\x16\x03\x01 a client hello"[..], &V2[..20], &V1[..12]] {
            assert!(matches!(
                receive(BALANCER, sent).await,
                Err(Error::Header(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_balancer_that_stops_in_mid_header_is_let_go() {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(&V2[..20]).await.unwrap();
        let refused = trusted().client(near, BALANCER.parse().unwrap()).await;
        assert!(matches!(refused, Err(Error::TimedOut)));
        drop(far);
    }
}
