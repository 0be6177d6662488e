//! How a machine becomes a node, and how it keeps its certificate (docs/PROTOCOL.md).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use domain::{id::NodeId, name::Name};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs workloads and builds.
    Agent,
    /// Carries traffic.
    Edge,
}

impl Role {
    /// The word in SPIFFE ids, tables and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Edge => "edge",
        }
    }
}

/// `POST /node/v1/join`, over TLS checked against the token's CA hash, without a client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The single-use token, `rhj_<id>.<secret>.<SPKI hash of the CA>`.
    pub token: String,
    /// What the machine is called, for people.
    pub name: Name,
    /// PKCS#10, PEM. Its key never leaves the node.
    pub csr: String,
}

/// `POST /node/v1/join-token`, over TLS checked against the token's CA hash: what a token is good for, before
/// anything is changed on the machine that will use it, and what became of it afterwards.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// The token; it is not used up.
    pub token: String,
}

/// What a join token is good for, told to whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenStatus {
    /// Where the node will stand.
    pub region: Name,
    /// What it will be.
    pub role: Role,
    /// The platform's registry, `host:port`.
    pub registry: String,
    /// The platform's CA, PEM.
    pub ca: String,
    /// The control plane's clock.
    pub now: DateTime<Utc>,
    /// The node that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<JoinedNode>,
}

/// The node that a token was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNode {
    /// The node.
    pub id: NodeId,
    /// What it is called.
    pub name: Name,
    /// It reports, and has what it needs to serve.
    pub ready: bool,
}

/// `POST /node/v1/renew`: over mTLS with the old certificate, expired or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// PKCS#10, PEM, signed by the key of the certificate in use.
    pub csr: String,
}

/// A node's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node_id: NodeId,
    /// Where it stands.
    pub region: Name,
    /// What it is.
    pub role: Role,
    /// Leaf first, PEM.
    pub certificate: String,
    /// The platform's CA, PEM.
    pub ca: String,
    /// Ed25519 public keys that sign commits, base64; more than one while a key is replaced.
    pub feed_keys: Vec<String>,
}

/// The SPIFFE id in a node certificate's URI SAN:
/// `spiffe://<trust domain>/region/<region>/<role>/<node id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The platform's trust domain.
    pub trust_domain: String,
    /// Where the node stands.
    pub region: Name,
    /// What it is.
    pub role: Role,
    /// The node.
    pub node_id: NodeId,
}

/// A URI that is no node's SPIFFE id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not spiffe://<trust domain>/region/<region>/<agent|edge>/<node id>")]
pub struct InvalidSpiffeId(String);

impl std::fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "spiffe://{}/region/{}/{}/{}",
            self.trust_domain,
            self.region,
            self.role.as_str(),
            self.node_id
        )
    }
}

impl std::str::FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(uri: &str) -> Result<Self, InvalidSpiffeId> {
        let invalid = || InvalidSpiffeId(uri.chars().take(200).collect());
        let rest = uri.strip_prefix("spiffe://").ok_or_else(invalid)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, "region", region, role, node_id] = parts.as_slice() else {
            return Err(invalid());
        };
        let role = match *role {
            "agent" => Role::Agent,
            "edge" => Role::Edge,
            _ => return Err(invalid()),
        };
        Ok(Self {
            trust_domain: (*trust_domain).to_owned(),
            region: region.parse().map_err(|_| invalid())?,
            role,
            node_id: node_id.parse().map_err(|_| invalid())?,
        })
    }
}

/// `POST /node/v1/registry-token`: lets an agent pull for its instances or push its build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryTokenRequest {
    /// Without the registry's host: `org_…/svc_…`.
    pub repository: String,
    /// A push is granted only for the repository of a build of this node's feed.
    pub push: bool,
    /// Base images (`library/…`) whose layers a push may take over inside the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_from: Vec<String>,
}

/// A token for the registry, scoped to one repository.
#[derive(Clone, Serialize, Deserialize)]
pub struct RegistryToken {
    /// A JWT for `X-Registry-Auth`'s `registrytoken`, or a Bearer header.
    pub token: String,
    /// Good for this long.
    pub expires_in_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_reads_back_and_rubbish_does_not() {
        let id = SpiffeId {
            trust_domain: "railhead.test".into(),
            region: "eu-west".parse().unwrap(),
            role: Role::Edge,
            node_id: NodeId::new(),
        };
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        for uri in [
            "",
            "spiffe://t/region/eu-west/root/x",
            "spiffe://t/region//edge/nod_1",
            "https://t/region/a/edge/b",
        ] {
            assert!(uri.parse::<SpiffeId>().is_err(), "{uri}");
        }
    }
}
