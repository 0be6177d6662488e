//! TLS of node links: mTLS between nodes by SPIFFE id, to the control plane by CA and name. Our own
//! certificate and the CA are read at each handshake, so that a renewal needs no new configuration.

pub mod certificate;
mod verify;

use std::sync::Arc;

use domain::{id::NodeId, name::Name};
use protocol::join::{Role, SpiffeId};
use rustls::{ClientConfig, ServerConfig};

pub use certificate::spiffe_id;
use rustls_pki_types::CertificateDer;
use verify::{
    ControlPlaneVerifier, NodeClientVerifier, NodeServerVerifier, PinnedVerifier, provider,
};

use crate::identity::Identity;

/// Which nodes of the platform may be at the other end. The default is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// Only agents or only edges.
    pub role: Option<Role>,
    /// Only of this region.
    pub region: Option<Name>,
    /// Only this one.
    pub node_id: Option<NodeId>,
}

/// A node of the platform, but not one that is meant here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer} may not be at this end: expected {expected:?}")]
pub struct Unexpected {
    peer: String,
    expected: Peers,
}

impl Peers {
    /// Whether a node is among them.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn check(&self, peer: &SpiffeId) -> Result<(), Unexpected> {
        let expected = self.role.is_none_or(|role| role == peer.role)
            && self.region.as_ref().is_none_or(|r| *r == peer.region)
            && self.node_id.is_none_or(|id| id == peer.node_id);
        if expected {
            return Ok(());
        }
        Err(Unexpected {
            peer: peer.to_string(),
            expected: self.clone(),
        })
    }
}

/// Who is at the other end of an established connection.
///
/// # Errors
/// When it showed no certificate of a node.
pub fn peer_spiffe_id(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, certificate::Error> {
    chain
        .first()
        .ok_or(certificate::Error::Missing)
        .and_then(spiffe_id)
}

/// For a listener that only nodes may connect to.
///
/// # Errors
/// When the crypto provider lacks the protocol versions.
pub fn server_config(identity: &Identity, peers: Peers) -> Result<ServerConfig, rustls::Error> {
    let verifier = NodeClientVerifier {
        identity: identity.clone(),
        peers,
    };
    Ok(ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(identity.clone())))
}

/// For connections to another node. The server name given to rustls is of no consequence.
///
/// # Errors
/// When the crypto provider lacks the protocol versions.
pub fn client_config(identity: &Identity, peers: Peers) -> Result<ClientConfig, rustls::Error> {
    let verifier = NodeServerVerifier {
        identity: identity.clone(),
        peers,
    };
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(identity.clone())))
}

/// For connections to the control plane.
pub(crate) fn control_plane_config(identity: &Identity) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ControlPlaneVerifier(identity.clone())))
        .with_client_cert_resolver(Arc::new(identity.clone())))
}

/// For the one connection on which a machine joins.
pub(crate) fn join_config(ca_sha256: [u8; 32]) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier { ca_sha256 }))
        .with_no_client_auth())
}
