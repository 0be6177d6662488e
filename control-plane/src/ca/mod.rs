//! The platform's own certificate authority and the keys that every replica shares. They are made
//! once by `migrate`, sealed under the key-encryption key, and read by each replica at its start.

mod authority;
mod keys;
mod server;

pub use authority::{Authority, Issued, NodeCertificate, SERVER_RENEWAL, requested_key};
pub use keys::{PlatformKeys, RegistryKey, ensure};
pub use server::ServerCertificate;

/// What keeps a key or certificate from being made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("making or reading a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(
        "the certificate request is refused: {0}; it must be PKCS#10 in PEM, signed by its own key"
    )]
    Request(rcgen::Error),
    #[error("a stored certificate or key can't be read: {0}")]
    Stored(String),
    #[error("the platform has no key \"{0}\" yet; run `control-plane migrate`")]
    Missing(String),
    #[error(transparent)]
    FeedKey(#[from] protocol::feed::signature::Error),
    #[error(transparent)]
    Secrets(#[from] crate::secrets::Error),
    #[error("the platform's keys can't be read or stored: {0}")]
    Database(#[from] crate::store::Error),
}
