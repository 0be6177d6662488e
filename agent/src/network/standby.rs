//! Rules that keep published ports open while the engine is away: dockerd drops its own when it starts, and has them
//! back before it answers. Only the engine gives addresses to containers, so while none answers no address changes
//! hands; and a rule is made only for an address that the container's own process still holds.

use std::{collections::BTreeSet, net::Ipv4Addr, path::Path};

use super::iptables::{Error, ensure_hook, restore};
use crate::runtime::PublishedPort;

const CHAIN: &str = "RAILHEAD-STANDBY";
/// What is to look there first: other machines' connections, this machine's, and those that pass through.
const HOOKS: [(&str, &str); 3] = [
    ("nat", "PREROUTING"),
    ("nat", "OUTPUT"),
    ("filter", "FORWARD"),
];

/// What stands now.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Standby {
    /// A former agent may have left some.
    #[default]
    Unknown,
    /// No rules.
    Down,
    /// These.
    Up(String),
}

impl Standby {
    /// Rules for all of `ports` that their containers still hold, and for no other.
    pub async fn raise(&mut self, ports: &BTreeSet<PublishedPort>) -> Result<(), Error> {
        let rules = rules(ports.iter().filter(|port| is_held(port)));
        if matches!(self, Self::Up(standing) if *standing == rules) {
            return Ok(());
        }
        *self = Self::Unknown;
        restore("iptables-restore", &rules).await?;
        for (table, chain) in HOOKS {
            ensure_hook(table, chain, CHAIN).await?;
        }
        *self = Self::Up(rules);
        Ok(())
    }

    /// No rules.
    pub async fn lower(&mut self) -> Result<(), Error> {
        if *self != Self::Down {
            restore("iptables-restore", &rules([].into_iter())).await?;
            *self = Self::Down;
        }
        Ok(())
    }
}

/// In the format of `iptables-restore`. Workloads reach published ports no more than else.
fn rules<'a>(ports: impl Iterator<Item = &'a PublishedPort>) -> String {
    let (mut nat, mut filter) = (String::new(), String::new());
    for PublishedPort { host, target, .. } in ports {
        nat.push_str(&format!(
            "-A {CHAIN} -d {}/32 -p tcp --dport {} -j DNAT --to-destination {target}\n",
            host.ip(),
            host.port()
        ));
        filter.push_str(&format!(
            "-A {CHAIN} ! -i rh-+ -o rh-+ -d {}/32 -p tcp --dport {} -m conntrack --ctstate DNAT -j ACCEPT\n",
            target.ip(),
            target.port()
        ));
    }
    format!("*nat\n:{CHAIN} - [0:0]\n{nat}COMMIT\n*filter\n:{CHAIN} - [0:0]\n{filter}COMMIT\n")
}

/// Whether the container's process lives in a network that has the address.
fn is_held(port: &PublishedPort) -> bool {
    let table = Path::new("/proc")
        .join(port.pid.to_string())
        .join("net/fib_trie");
    std::fs::read_to_string(table).is_ok_and(|table| has_address(&table, *port.target.ip()))
}

/// The kernel's routing table lists an own address as a leaf, `|-- 172.30.0.2`, and below it `/32 host LOCAL`.
fn has_address(table: &str, address: Ipv4Addr) -> bool {
    let leaf = format!("|-- {address}");
    let mut lines = table.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == leaf && lines.next() == Some("/32 host LOCAL") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(target: &str, pid: u32) -> PublishedPort {
        PublishedPort {
            host: "10.96.1.2:20000".parse().unwrap(),
            target: target.parse().unwrap(),
            pid,
        }
    }

    #[test]
    fn the_rules() {
        insta::assert_snapshot!(rules([port("172.30.0.2:8080", 1)].iter()));
    }

    #[test]
    fn an_address_is_held_by_who_has_it() {
        let own = std::process::id();
        assert!(is_held(&port("127.0.0.1:8080", own)));
        assert!(!is_held(&port("192.0.2.77:8080", own)));
        assert!(
            !is_held(&port("127.0.0.0:8080", own)),
            "a network is no address"
        );
        let gone = u32::MAX;
        assert!(!is_held(&port("127.0.0.1:8080", gone)));
    }
}
