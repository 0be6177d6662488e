//! TLS of the node listener: a client certificate of our CA, whatever a clock says of its validity. Whether its
//! node is still welcome is judged per request.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ca::{Authority, ServerCertificate};

/// The node listener's configuration.
///
/// # Errors
/// When the CA's certificate can't be used.
pub fn server_config(
    authority: &Authority,
    certificate: ServerCertificate,
) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let inner = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(TimeIgnored(inner)))
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Checks everything but begin and end of a certificate's life: neither the node's clock nor this one may be right.
#[derive(Debug)]
struct TimeIgnored(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for TimeIgnored {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let validity = parsed.validity();
        let [begin, end] = [validity.not_before, validity.not_after]
            .map(|at| u64::try_from(at.timestamp()).unwrap_or_default());
        let judged_at = now.as_secs().min(end).max(begin);
        let judged_at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(judged_at));
        self.0.verify_client_cert(leaf, intermediates, judged_at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair};
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    fn authority() -> Authority {
        let (certificate, key) = Authority::generate("railhead.test").unwrap();
        Authority::from_pem(&certificate, &key).unwrap()
    }

    fn verifier(authority: &Authority) -> TimeIgnored {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        TimeIgnored(inner.build().unwrap())
    }

    fn node(authority: &Authority) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key);
        let id = "spiffe://railhead.test/region/us-east/agent/nod_0190163d8694739baea5966c26f8ad91";
        let signed = authority.sign_node(
            &request.unwrap().pem().unwrap(),
            &id.parse().unwrap(),
            &"us-east-1".parse().unwrap(),
        );
        CertificateDer::from_pem_slice(signed.unwrap().pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_node_is_known_by_any_clock_and_a_stranger_by_none() {
        let (own, foreign) = (authority(), authority());
        let verifier = verifier(&own);
        let (known, stranger) = (node(&own), node(&foreign));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (now, days) = (now.unwrap(), |days: u64| Duration::from_secs(days * 86_400));
        for clock in [now - days(400), now, now + days(400)] {
            let clock = UnixTime::since_unix_epoch(clock);
            assert!(verifier.verify_client_cert(&known, &[], clock).is_ok());
            assert!(verifier.verify_client_cert(&stranger, &[], clock).is_err());
        }
    }
}
