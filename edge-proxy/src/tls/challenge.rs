//! The handshake by which a certificate authority learns whether a hostname leads here (TLS-ALPN-01, RFC 8737): a
//! certificate of nobody's that says what the authority asked for. No HTTP is spoken on that connection.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

/// The protocol that only an authority asks for.
pub const ALPN: &[u8] = b"acme-tls/1";

/// Why the authority can't be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate.
    #[error("the certificate that answers a challenge can't be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS.
    #[error("the handshake that answers a challenge can't be prepared: {0}")]
    Tls(#[from] rustls::Error),
}

/// A handshake for this host that proves the key authorization.
///
/// # Errors
/// When the system gives no randomness, or the host is no DNS name.
pub fn challenge_config(host: &str, key_authorization: &str) -> Result<Arc<ServerConfig>, Error> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    let digest = Sha256::digest(key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(key)?;
    // Not as any other certificate, which rustls would read: it refuses what says critically what it does not know.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_none_is_refused() {
        assert!(challenge_config("a.test", "t.thumb").is_ok());
        assert!(challenge_config("not a host\u{e9}", "t.thumb").is_err());
    }
}
