//! Verifiers for links between nodes and to the control plane. The chain, the purpose and the name are
//! checked as always; only time never refuses: outside its validity a certificate is checked at its
//! own last second and the expiry is logged. A wrong clock or a long outage must not cut the platform.

use std::{sync::Arc, time::Duration};

use domain::id::NodeId;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Peers, certificate};
use crate::identity::Identity;

/// The crypto of all links, whatever the process default is.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// When to check a chain: now, or at the certificate's last second when now is outside its validity.
fn moment(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<UnixTime, TlsError> {
    let validity = certificate::validity(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let second = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (first, last) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    if (first..=last).contains(&second) {
        return Ok(now);
    }
    let peer = certificate::spiffe_id(leaf).map(|id| id.to_string());
    tracing::warn!(
        peer = peer.as_deref().unwrap_or("control plane"),
        not_before = %validity.not_before,
        not_after = %validity.not_after,
        "a peer's certificate is outside its validity; it is accepted, but its renewal (or a clock) needs a look"
    );
    let last = u64::try_from(last).map_err(|_| CertificateError::BadEncoding)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(last)))
}

/// A refusal with its reason, as rustls carries it.
fn refused(reason: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    CertificateError::Other(rustls::OtherError(Arc::new(reason))).into()
}

/// The node is one of ours that is meant here and that nobody has expelled.
fn check_node(
    leaf: &CertificateDer<'_>,
    peers: &Peers,
    identity: &Identity,
) -> Result<(), TlsError> {
    let id = certificate::spiffe_id(leaf).map_err(refused)?;
    if identity.denied().contains(id.node_id) {
        return Err(refused(Denied(id.node_id)));
    }
    peers.check(&id).map_err(refused)
}

/// The feed's deny list names the node.
#[derive(Debug, thiserror::Error)]
#[error("an operator has expelled the node {0}; let it join again with a new token")]
struct Denied(NodeId);

/// Checks the control plane: chain to the platform's CA, and its name.
#[derive(Debug)]
pub struct ControlPlaneVerifier(pub Identity);

/// Checks a node that we connect to: chain to the platform's CA, and its SPIFFE id.
#[derive(Debug)]
pub struct NodeServerVerifier {
    pub identity: Identity,
    pub peers: Peers,
}

/// Checks a node that connects to us.
#[derive(Debug)]
pub struct NodeClientVerifier {
    pub identity: Identity,
    pub peers: Peers,
}

/// Checks the control plane before there is a CA on this node: by the hash in the join token.
#[derive(Debug)]
pub struct PinnedVerifier {
    pub ca_sha256: [u8; 32],
}

/// The CA that was pinned is not in the server's chain.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server does not show the CA that the join token names: wrong control_plane, an old token, or an attack"
)]
struct NotPinned;

fn check_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &rustls::RootCertStore,
    now: UnixTime,
) -> Result<(), TlsError> {
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(leaf)?,
        roots,
        intermediates,
        moment(leaf, now)?,
        provider().signature_verification_algorithms.all,
    )
}

fn check_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), TlsError> {
    rustls::client::verify_server_name(&ParsedCertificate::try_from(leaf)?, name)
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            let algorithms = provider().signature_verification_algorithms;
            verify_tls12_signature(message, leaf, dss, &algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            let algorithms = provider().signature_verification_algorithms;
            verify_tls13_signature(message, leaf, dss, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

impl ServerCertVerifier for ControlPlaneVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        check_chain(leaf, intermediates, &self.0.credentials().roots, now)?;
        check_name(leaf, name)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for NodeServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let roots = self.identity.credentials().roots.clone();
        check_chain(leaf, intermediates, &roots, now)?;
        check_node(leaf, &self.peers, &self.identity)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let pinned = |shown: &&CertificateDer<'_>| {
            certificate::public_key_sha256(shown).is_ok_and(|hash| hash == self.ca_sha256)
        };
        let ca = intermediates.iter().find(pinned);
        let ca = ca.ok_or_else(|| refused(NotPinned))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        check_chain(leaf, intermediates, &roots, now)?;
        check_name(leaf, name)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for NodeClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every node has one certificate: it needs no hint which to show.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let roots = self.identity.credentials().roots.clone();
        let webpki = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(refused)?;
        webpki.verify_client_cert(leaf, intermediates, moment(leaf, now)?)?;
        check_node(leaf, &self.peers, &self.identity)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
