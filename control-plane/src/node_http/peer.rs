//! Who is at the other end: the node named by the client certificate, if it is still welcome.

use axum::extract::FromRequestParts;
use domain::{id::NodeId, ring::Ring};
use http::request::Parts;
use protocol::{
    OLDEST, PROTOCOL, PROTOCOL_HEADER,
    feed::FeedName,
    join::{Role, SpiffeId},
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::Error;
use crate::{
    State,
    listen::Peer,
    store::{node_identity, tx::SystemTx},
};

/// A node that no operator has denied.
#[derive(Debug, Clone)]
pub struct Node {
    pub id: NodeId,
    pub region: domain::name::Name,
    pub role: Role,
    /// Whose routes an edge shall follow.
    pub ring: Ring,
    /// The version it speaks.
    pub protocol: i32,
}

impl Node {
    /// Whether it may follow a feed: an edge that of any ring, because an operator may move it.
    pub fn may_follow(&self, feed: &FeedName) -> bool {
        match (self.role, feed) {
            (Role::Agent, FeedName::Node(id)) => *id == self.id,
            (Role::Edge, FeedName::GlobalRoutes(_)) => true,
            (Role::Edge, FeedName::RegionRoutes(region, _)) => *region == self.region,
            _ => false,
        }
    }

    /// The feeds that it follows when it has none yet.
    pub fn first_feeds(&self) -> Vec<FeedName> {
        match self.role {
            Role::Agent => vec![FeedName::Node(self.id)],
            Role::Edge => vec![
                FeedName::GlobalRoutes(Ring::All),
                FeedName::RegionRoutes(self.region.clone(), Ring::All),
            ],
        }
    }
}

/// A node whose protocol is not known: good for renewing its certificate.
#[derive(Debug, Clone)]
pub(super) struct Renewing {
    pub spiffe_id: SpiffeId,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
    ring: Ring,
}

impl FromRequestParts<State> for Renewing {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let peer = parts.extensions.get::<Peer>().ok_or(Error::NoCertificate)?;
        let leaf = peer.certificates.first().ok_or(Error::NoCertificate)?;
        let mut node = read(leaf)?;
        if node.spiffe_id.trust_domain != state.config.platform_domain {
            return Err(Error::ForeignCertificate(node.spiffe_id.to_string()));
        }
        let id = node.spiffe_id.node_id;
        let known = node_identity::find(&mut SystemTx::begin(&state.pools).await?, id).await?;
        let welcome = known.is_some_and(|known| {
            node.ring = known.ring;
            !known.denied
                && known.public_key == node.public_key
                && known.role == node.spiffe_id.role
                && known.region == node.spiffe_id.region
        });
        welcome
            .then_some(node)
            .ok_or_else(|| Error::Denied(id.to_string()))
    }
}

impl FromRequestParts<State> for Node {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let protocol = spoken(parts)?;
        let node = Renewing::from_request_parts(parts, state).await?;
        let ring = node.ring;
        let SpiffeId {
            node_id,
            region,
            role,
            ..
        } = node.spiffe_id;
        Ok(Self {
            id: node_id,
            region,
            role,
            ring,
            protocol,
        })
    }
}

fn spoken(parts: &Parts) -> Result<i32, Error> {
    let header = parts.headers.get(PROTOCOL_HEADER);
    let version = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or("none");
    let spoken: Option<u32> = version.parse().ok();
    spoken
        .filter(|spoken| (OLDEST..=PROTOCOL).contains(spoken))
        .and_then(|spoken| i32::try_from(spoken).ok())
        .ok_or_else(|| Error::Protocol(version.chars().take(20).collect()))
}

fn read(leaf: &[u8]) -> Result<Renewing, Error> {
    let foreign = |reason: &str| Error::ForeignCertificate(reason.to_owned());
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| foreign("it can't be read"))?;
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .ok_or_else(|| foreign("it has no SPIFFE id"))?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        return Err(foreign("it has no single SPIFFE id"));
    };
    let spiffe_id = uri
        .parse()
        .map_err(|error: protocol::join::InvalidSpiffeId| foreign(&error.to_string()))?;
    Ok(Renewing {
        spiffe_id,
        public_key: certificate.public_key().raw.to_vec(),
        ring: Ring::default(),
    })
}
