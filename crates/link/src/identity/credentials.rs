//! An identity made ready for use, and checked to be whole: certificate, key, CA and id belong together.

use std::sync::Arc;

use protocol::{
    feed::signature::FeedKeys,
    join::{self, SpiffeId},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{RootCertStore, crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::Error;
use crate::tls::certificate::{self, Validity};

/// An identity made ready for use.
#[derive(Debug)]
pub struct Credentials {
    /// As the control plane gave it.
    pub identity: join::Identity,
    /// From the certificate.
    pub spiffe_id: SpiffeId,
    /// When the certificate is meant to be used.
    pub validity: Validity,
    /// Who may sign commits of feeds.
    pub feed_keys: FeedKeys,
    pub(crate) key: Arc<KeyPair>,
    pub(crate) certified_key: Arc<CertifiedKey>,
    pub(crate) roots: Arc<RootCertStore>,
}

impl Credentials {
    /// Puts an identity and its key together.
    ///
    /// # Errors
    /// When something can't be read, or does not belong together.
    pub fn new(identity: join::Identity, key: Arc<KeyPair>) -> Result<Self, Error> {
        let chain = certificate::from_pem(&identity.certificate)?;
        let leaf = chain.first().ok_or(certificate::Error::Missing)?;
        let spiffe_id = certificate::spiffe_id(leaf)?;
        belongs(&identity, &spiffe_id)?;
        let validity = certificate::validity(leaf)?;
        let certified_key = certified_key(chain, &key)?;
        let feed_keys = FeedKeys::from_base64(&identity.feed_keys)?;
        let roots = roots(&identity.ca)?;
        Ok(Self {
            spiffe_id,
            validity,
            feed_keys,
            certified_key: Arc::new(certified_key),
            roots: Arc::new(roots),
            key,
            identity,
        })
    }

    /// A request for the next certificate of the same key.
    pub(crate) fn csr(&self) -> Result<String, Error> {
        csr(&self.key)
    }
}

/// A certificate signing request. The control plane alone decides about names in the certificate.
pub(super) fn csr(key: &KeyPair) -> Result<String, Error> {
    let params = CertificateParams::new(Vec::<String>::new())?;
    Ok(params.serialize_request(key)?.pem()?)
}

fn belongs(identity: &join::Identity, spiffe_id: &SpiffeId) -> Result<(), Error> {
    if identity.node_id != spiffe_id.node_id {
        return Err(Error::Foreign("its certificate is another node's"));
    }
    if identity.region != spiffe_id.region || identity.role != spiffe_id.role {
        return Err(Error::Foreign(
            "its certificate is of another region or role",
        ));
    }
    Ok(())
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> Result<CertifiedKey, Error> {
    let pem = Zeroizing::new(key.serialize_pem());
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| Error::Unreadable(error.to_string()))?;
    let certified = CertifiedKey::new(chain, any_supported_type(&der)?);
    certified.keys_match()?;
    Ok(certified)
}

fn roots(ca: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificate::from_pem(ca)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// Reads a key as [`KeyPair::serialize_pem`] wrote it.
pub(super) fn key_from_pem(pem: &[u8]) -> Result<KeyPair, Error> {
    let pem = std::str::from_utf8(pem).map_err(|error| Error::Unreadable(error.to_string()))?;
    Ok(KeyPair::from_pem(pem)?)
}
