//! The certificate of this replica's own listeners: issued when it starts and again before it
//! expires, so that nobody has to renew it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{
    Authority, Error, Issued,
    authority::{SERVER_LIFETIME, SERVER_RENEWAL},
};

/// A server certificate that renews itself.
pub struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: ArcSwap<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    not_after: DateTime<Utc>,
}

impl ServerCertificate {
    /// For these DNS names and addresses.
    pub fn issue(authority: Arc<Authority>, names: Vec<String>) -> Result<Self, Error> {
        let current = read(&authority.issue_server(&names)?)?;
        Ok(Self {
            authority,
            names,
            current: ArcSwap::from_pointee(current),
        })
    }

    fn renewed(&self) -> Result<Current, Error> {
        read(&self.authority.issue_server(&self.names)?)
    }
}

/// It ends soon, or a clock that was ahead has issued it: to everybody else it is not valid yet.
fn is_due(not_after: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let left = not_after - now;
    left < SERVER_RENEWAL || left > SERVER_LIFETIME
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_due(self.current.load().not_after, Utc::now()) {
            match self.renewed() {
                Ok(renewed) => self.current.store(Arc::new(renewed)),
                Err(error) => tracing::error!(%error, "renewing the server certificate failed"),
            }
        }
        Some(self.current.load().key.clone())
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

fn read(issued: &Issued) -> Result<Current, Error> {
    let stored = |error: rustls_pki_types::pem::Error| Error::Stored(error.to_string());
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(stored)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(stored)?;
    let key = any_supported_type(&key).map_err(|error| Error::Stored(error.to_string()))?;
    Ok(Current {
        key: Arc::new(CertifiedKey::new(chain, key)),
        not_after: issued.not_after,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_certificate_is_due_before_its_end_and_when_the_clock_has_gone_back() {
        let issued = Utc::now();
        let (not_after, days) = (issued + SERVER_LIFETIME, TimeDelta::days);
        assert!(!is_due(not_after, issued));
        assert!(!is_due(not_after, not_after - days(46)));
        assert!(is_due(not_after, not_after - days(44)));
        assert!(is_due(not_after, issued - days(400)));
    }
}
