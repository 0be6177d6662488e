//! How a node divides the /16 that its containers, its builds and the cable between them live in.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Addresses of a node's own networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Networks of environments, /26 each.
    pub containers: String,
    /// Of the engine's own bridge, the last /24 of them.
    pub bridge: String,
    /// The host's end of the cable to the build network.
    pub host: Ipv4Addr,
    /// The build network's end.
    pub inside: Ipv4Addr,
    /// Of the build engine's bridge.
    pub build_bridge: String,
    /// Other networks of the build engine.
    pub build_containers: String,
}

impl Layout {
    /// Of a /16.
    pub fn of(network: Ipv4Net) -> Self {
        let [a, b, ..] = network.network().octets();
        Self {
            containers: format!("{a}.{b}.0.0/17"),
            bridge: format!("{a}.{b}.127.1/24"),
            host: Ipv4Addr::new(a, b, 250, 1),
            inside: Ipv4Addr::new(a, b, 250, 2),
            build_bridge: format!("{a}.{b}.251.1/24"),
            build_containers: format!("{a}.{b}.252.0/22"),
        }
    }
}
