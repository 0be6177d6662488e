//! Who this node is: its key, its certificate and the platform's CA. Gained once by a join token, kept
//! on disk (the key sealed), renewed long before it expires, and used on when renewal fails.

mod credentials;
mod deny_list;
mod guarded;
mod join;
mod look_up;
mod renew;
mod store;

use std::sync::Arc;

use domain::{id::NodeId, name::Name};
use protocol::join::{Role, SpiffeId};
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;

pub use credentials::Credentials;
pub use deny_list::DenyList;
pub use guarded::Guarded;
pub(crate) use join::{Join, join};
pub use look_up::look_up;
pub(crate) use renew::keep_renewed;
pub use store::Store;

use crate::{client, disk, node_key, tls::certificate};

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state folder can't be used.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A thread that wrote it is gone.
    #[error("writing the node's identity was broken off: {0}")]
    BrokenOff(#[from] tokio::task::JoinError),
    /// The node key can't be used.
    #[error(transparent)]
    NodeKey(#[from] node_key::Error),
    /// A certificate can't be used.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// TLS refuses the certificate or its key.
    #[error("the node's certificate can't be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The key can't be made or used.
    #[error("the node's private key can't be used: {0}")]
    Key(#[from] rcgen::Error),
    /// What is on disk can't be read.
    #[error("the node's identity on disk can't be read: {0}; remove it and join again")]
    Unreadable(String),
    /// The feed keys are no keys.
    #[error(transparent)]
    FeedKeys(#[from] protocol::feed::signature::Error),
    /// No identity and no way to one.
    #[error(
        "this machine is no node yet and there is no join token: set join_token_file to a token made with `railhead node token`"
    )]
    NotJoined,
    /// The token can't be read as one.
    #[error(transparent)]
    Token(#[from] protocol::join_token::InvalidJoinToken),
    /// The control plane said no.
    #[error("joining failed: {0}")]
    Join(#[source] client::Error),
    /// The control plane answered with something else than was asked for.
    #[error("the control plane answered with an identity that is not this node's: {0}")]
    Foreign(&'static str),
}

/// The identity in use; clones share it, and all see a renewal at once.
#[derive(Debug, Clone)]
pub struct Identity {
    credentials: Arc<watch::Sender<Arc<Credentials>>>,
    denied: DenyList,
}

impl Identity {
    /// An identity from its parts.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials: Arc::new(watch::Sender::new(Arc::new(credentials))),
            denied: DenyList::default(),
        }
    }

    /// What is in use now.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.borrow().clone()
    }

    /// Uses these from now on.
    pub(crate) fn replace(&self, credentials: Credentials) {
        self.credentials.send_replace(Arc::new(credentials));
    }

    /// The nodes that links refuse.
    #[must_use]
    pub const fn denied(&self) -> &DenyList {
        &self.denied
    }

    /// The node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.credentials().spiffe_id.node_id
    }

    /// Where it stands.
    #[must_use]
    pub fn region(&self) -> Name {
        self.credentials().spiffe_id.region.clone()
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.credentials().spiffe_id.role
    }

    /// As in its certificate.
    #[must_use]
    pub fn spiffe_id(&self) -> SpiffeId {
        self.credentials().spiffe_id.clone()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.credentials().certified_key.clone())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.credentials().certified_key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
