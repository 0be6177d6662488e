//! Which certificate a server name gets.

use std::{collections::HashMap, sync::Arc};

use domain::id::CertificateId;
use protocol::item::CertificateItem;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::config::{Tickets, server_config};
use crate::route::hostname::{self, Pattern};

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain or the key is no PEM of its kind.
    #[error("the {what} of certificate {id} can't be read: {source}")]
    Pem {
        /// The certificate.
        id: CertificateId,
        /// "chain" or "private key".
        what: &'static str,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// rustls refuses the pair.
    #[error("certificate {id} can't be used: {source}")]
    Refused {
        /// The certificate.
        id: CertificateId,
        /// Why.
        source: rustls::Error,
    },
    /// None of its names is a host name.
    #[error("certificate {id} has no host name")]
    NoName {
        /// The certificate.
        id: CertificateId,
    },
}

/// A certificate that is ready for handshakes.
#[derive(Debug)]
pub struct Certificate {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    /// What it is good for.
    pub names: Arc<[String]>,
}

impl Certificate {
    /// Parses and checks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn load(
        item: &CertificateItem,
        key: &Zeroizing<String>,
        tickets: &Tickets,
    ) -> Result<Self, Error> {
        let id = item.id;
        let pem = |what| move |source| Error::Pem { id, what, source };
        let chain = CertificateDer::pem_slice_iter(item.chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem("chain"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("private key"))?;
        let config =
            server_config(chain, key, tickets).map_err(|source| Error::Refused { id, source })?;
        if !item.names.iter().any(|n| hostname::pattern(n).is_some()) {
            return Err(Error::NoName { id });
        }
        Ok(Self {
            config: Arc::new(config),
            names: item.names.clone().into(),
        })
    }
}

/// All certificates by name.
#[derive(Debug, Default)]
pub struct CertificateStore {
    exact: HashMap<String, Arc<Certificate>>,
    wildcard: HashMap<String, Arc<Certificate>>,
}

impl CertificateStore {
    /// Compiles; a later certificate wins a name that two have (ids sort by time).
    #[must_use]
    pub fn build<'a>(certificates: impl IntoIterator<Item = &'a Arc<Certificate>>) -> Self {
        let mut store = Self::default();
        for certificate in certificates {
            for name in certificate.names.iter() {
                match hostname::pattern(name) {
                    Some(Pattern::Exact(host)) => {
                        store.exact.insert(host, Arc::clone(certificate));
                    }
                    Some(Pattern::Wildcard(parent)) => {
                        store.wildcard.insert(parent, Arc::clone(certificate));
                    }
                    None => {}
                }
            }
        }
        store
    }

    /// The certificate for a server name in lower case: exact first, then wildcard.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Certificate>> {
        self.exact
            .get(name)
            .or_else(|| self.wildcard.get(hostname::parent_of(name)?))
            .cloned()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use protocol::feed::SecretRef;

    use super::*;

    fn item(names: &[&str]) -> (CertificateItem, Zeroizing<String>) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let item = CertificateItem {
            id: CertificateId::new(),
            names,
            chain: made.cert.pem(),
            key: SecretRef {
                key: "certificate/x".into(),
                version: 1,
            },
            service_id: None,
        };
        (item, Zeroizing::new(made.signing_key.serialize_pem()))
    }

    fn load(names: &[&str]) -> Arc<Certificate> {
        let (item, key) = item(names);
        Arc::new(Certificate::load(&item, &key, &Tickets::new().unwrap()).unwrap())
    }

    #[test]
    fn exact_names_go_before_wildcards() {
        let (exact, wildcard) = (load(&["a.x.test"]), load(&["*.x.test"]));
        let store = CertificateStore::build([&exact, &wildcard]);
        assert!(Arc::ptr_eq(&store.find("a.x.test").unwrap(), &exact));
        assert!(Arc::ptr_eq(&store.find("b.x.test").unwrap(), &wildcard));
        for name in ["x.test", "c.b.x.test", ""] {
            assert!(store.find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_foreign_key_a_broken_chain_and_no_name_are_refused() {
        let tickets = Tickets::new().unwrap();
        let (good, key) = item(&["a.test"]);
        let (_, other_key) = item(&["a.test"]);
        let refused = Certificate::load(&good, &other_key, &tickets).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }), "{refused}");
        let broken = CertificateItem {
            chain: "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----".into(),
            ..good.clone()
        };
        let refused = Certificate::load(&broken, &key, &tickets).unwrap_err();
        assert!(
            matches!(refused, Error::Pem { what: "chain", .. }),
            "{refused}"
        );
        let nameless = CertificateItem {
            names: vec!["not a name".into()],
            ..good
        };
        let refused = Certificate::load(&nameless, &key, &tickets).unwrap_err();
        assert!(matches!(refused, Error::NoName { .. }), "{refused}");
    }
}
