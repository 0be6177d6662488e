//! Networks that tenants have no business in. One list for the firewalls of nodes and of the local platform.

/// Metadata services of clouds: link-local ones (and all else without a router in between), and two with addresses of
/// their own. No workload reaches them.
pub const METADATA: [&str; 3] = ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"];

/// What is not the internet: private, shared, metadata, loopback, multicast, reserved. No build reaches it, unless the
/// operator says so.
pub const NOT_PUBLIC: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/3",
];

/// Ports of the internet that builds and the fetching of sources reach: git over ssh, http, https.
pub const BUILD_PORTS: &str = "22,80,443";

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, ops::RangeInclusive};

    use super::*;

    fn addresses(network: &str) -> RangeInclusive<u32> {
        let (address, bits) = network.split_once('/').unwrap();
        let first = u32::from(address.parse::<Ipv4Addr>().unwrap());
        let last = first | u32::MAX.checked_shr(bits.parse().unwrap()).unwrap_or(0);
        first..=last
    }

    #[test]
    fn builds_reach_no_metadata_either() {
        for metadata in METADATA.map(addresses) {
            let covered = NOT_PUBLIC.map(addresses).iter().any(|network| {
                network.contains(metadata.start()) && network.contains(metadata.end())
            });
            assert!(covered, "{metadata:?}");
        }
    }
}
