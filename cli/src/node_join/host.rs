//! What a machine is like, as far as a plan depends on it.

use std::{collections::BTreeMap, net::Ipv4Addr};

use domain::{id::NodeId, name::Name, quantity::Bytes};
use ipnet::Ipv4Net;
use protocol::join::Role;

use super::choices::Choices;

/// A machine that is to become a node.
#[derive(Debug, Clone)]
pub struct Host {
    /// As `hostname` says.
    pub name: String,
    /// CPU cores.
    pub cpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// Free room where nodes keep their state.
    pub disk_free: Bytes,
    /// Its address on the way to the control plane.
    pub address: Option<Ipv4Addr>,
    /// All its addresses, loopback left out.
    pub addresses: Vec<Ipv4Addr>,
    /// Networks that it has routes to, the default route left out.
    pub networks: Vec<Ipv4Net>,
    /// Name servers that other machines are.
    pub resolvers: Vec<Ipv4Addr>,
    /// Addresses of the platform's registry.
    pub registry: Vec<Ipv4Addr>,
    /// What was decided when it joined.
    pub decided: Option<Choices>,
    /// The identities on its disk.
    pub identities: BTreeMap<Role, Identity>,
}

/// A node that this machine is already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub region: Name,
    /// Its platform's CA, PEM.
    pub ca: String,
}
