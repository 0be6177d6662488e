//! The items of routes: what edges know of hostnames, services, their instances, and each other.

use std::net::SocketAddr;

use domain::{
    id::{CertificateId, DeploymentId, InstanceId, NodeId, ServiceId},
    name::Name,
    quantity::Bytes,
    spec::Timeouts,
};
use serde::{Deserialize, Serialize};

use super::{DeniedItem, RoutePolicy, RulesItem, ServicePolicy, Split, bounds};
use crate::feed::SecretRef;

/// An item of `routes/global`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GlobalRouteItem {
    /// Id `hostname/<name>`, or `hostname/<name>/<path>`.
    Hostname(HostnameItem),
    /// Id `service/<svc_…>/rules`.
    Rules(RulesItem),
    /// Id `certificate/<crt_…>`; of a tenant's hostname `domain_certificate/<crt_…>`.
    Certificate(CertificateItem),
    /// Id `edge/<nod_…>`.
    Edge(EdgeItem),
    /// Id `denied/<nod_…>`.
    Denied(DeniedItem),
    /// Id `challenge/<hostname>`.
    Challenge(ChallengeItem),
}

/// A hostname, or a part of its paths, and the service behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostnameItem {
    /// Lower case, no trailing dot; `*.` in front for a wildcard.
    pub hostname: String,
    /// Of the hostname's requests, those to this path and to all below it (`domain::spec::is_path_prefix`); absent: those
    /// that no other item of the hostname has.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounds::of_path"
    )]
    pub path: Option<String>,
    /// Where its requests go.
    pub service_id: ServiceId,
    /// Regions with instances, in no order; forwarding goes to these only.
    pub regions: Vec<Name>,
    /// Plain HTTP is answered by a redirect.
    pub https_redirect: bool,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// Largest request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Bytes>,
    /// What the service has set besides.
    #[serde(
        default,
        skip_serializing_if = "RoutePolicy::is_default",
        deserialize_with = "bounds::of_route_policy"
    )]
    pub policy: RoutePolicy,
}

impl HostnameItem {
    /// Its id in the feed.
    #[must_use]
    pub fn id(&self) -> String {
        let path = self.path.as_deref().unwrap_or_default();
        format!("hostname/{}{path}", self.hostname)
    }
}

/// A certificate. Which hostname uses it follows from `names` (exact first, then wildcard).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CertificateItem {
    /// The certificate.
    pub id: CertificateId,
    /// DNS names it is good for.
    pub names: Vec<String>,
    /// Leaf first, PEM.
    pub chain: String,
    /// The private key, PEM (PKCS#8), in a secret frame.
    pub key: SecretRef,
    /// Whose hostname it is for; absent for the platform's own names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_id: Option<ServiceId>,
}

impl CertificateItem {
    /// Its id in the feed.
    #[must_use]
    pub fn item_id(&self) -> String {
        match self.service_id {
            Some(_) => format!("domain_certificate/{}", self.id),
            None => format!("certificate/{}", self.id),
        }
    }
}

/// What edges answer a certificate authority that asks whether a hostname leads here: over HTTP (RFC 8555 §8.3) and in
/// a TLS handshake (RFC 8737). Public, and good for nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeItem {
    /// Lower case, no trailing dot; never a wildcard.
    pub hostname: String,
    /// The last part of the path that is asked for.
    #[serde(deserialize_with = "bounds::of_token")]
    pub token: String,
    /// The answer: the token, a dot, and the thumbprint of the account's key.
    #[serde(deserialize_with = "bounds::of_key_authorization")]
    pub key_authorization: String,
}

/// An edge of the platform, for forwarding between regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeItem {
    /// The edge.
    pub node_id: NodeId,
    /// Where it stands.
    pub region: Name,
    /// Where it takes forwarded requests over mTLS.
    pub forward_address: SocketAddr,
}

/// An item of `routes/region/<region>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RegionRouteItem {
    /// Id `service/<svc_…>`.
    Service(ServiceItem),
    /// Id `agent/<nod_…>`.
    Agent(AgentItem),
}

/// A service's endpoints in this region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceItem {
    /// The service.
    pub service_id: ServiceId,
    /// The deployment that these endpoints belong to: failures during a change are counted on it.
    pub deployment_id: DeploymentId,
    /// Where its instances answer. May be empty; never more than [`super::ENDPOINTS_MAX`].
    #[serde(deserialize_with = "bounds::of_endpoints")]
    pub endpoints: Vec<Endpoint>,
    /// How edges check health themselves: HTTP when there is a path (`domain::spec::is_probe_path`), else by TCP connect.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounds::of_health"
    )]
    pub health_path: Option<String>,
    /// W3C trace context of that deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What the service has set besides.
    #[serde(
        default,
        skip_serializing_if = "ServicePolicy::is_default",
        deserialize_with = "bounds::of_service_policy"
    )]
    pub policy: ServicePolicy,
    /// Other deployments that get a part of the requests.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounds::of_splits"
    )]
    pub splits: Vec<Split>,
}

/// Where one instance answers. An edge uses it once the node's agent has confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The instance.
    pub instance_id: InstanceId,
    /// The node whose agent confirms it.
    pub node_id: NodeId,
    /// The node's address and the host port.
    pub address: SocketAddr,
}

/// An agent of this region, for edges that ask it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentItem {
    /// The agent's node.
    pub node_id: NodeId,
    /// Where it answers edges over mTLS ([`crate::agent_api`]).
    pub address: SocketAddr,
}
