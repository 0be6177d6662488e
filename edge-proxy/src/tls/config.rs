//! One rustls configuration per certificate; sessions and ticket keys are shared by all of them.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Sessions of TLS 1.2 that are kept for clients without tickets.
const SESSIONS: usize = 4096;

/// What lets a client come back without a full handshake. Keys rotate every six hours and live
/// in memory only.
#[derive(Debug, Clone)]
pub struct Tickets {
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Tickets {
    /// New keys.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        Ok(Self {
            ticketer: aws_lc_rs::Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS),
        })
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, one certificate.
///
/// # Errors
/// When the key does not belong to the certificate.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    tickets: &Tickets,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(&tickets.ticketer);
    config.session_storage = Arc::clone(&tickets.sessions);
    Ok(config)
}
