//! The network that builds run in and sources are fetched in: a namespace, a cable to it, and what may pass.
//! Builds reach the registry, name servers and the internet; no private network and not this machine. Text
//! for `ip -batch`, `sysctl` and `iptables-restore`, so that an operator can read what applies.

use std::{fmt::Write as _, net::Ipv4Addr};

use domain::network::{BUILD_PORTS, NOT_PUBLIC};

use super::{host::Host, layout::Layout, platform::Platform};

/// The namespace, and the host's end of the cable to it.
pub const NAMESPACE: &str = "railhead-build";

/// A namespace that forwards and knows no IPv6: what has no rule must have no path. Loopback is routed so
/// that the machine's own stub resolver can be answered by a real one.
pub const SYSCTL: &str = "\
net.ipv4.ip_forward = 1
net.ipv4.conf.all.route_localnet = 1
net.ipv6.conf.all.disable_ipv6 = 1
net.ipv6.conf.default.disable_ipv6 = 1
";

/// Sources are fetched as `nobody`.
const FETCH_UID: u32 = 65_534;

/// What builds reach although it may lie in a refused range, and what else they do not.
pub struct Reach {
    dns: Vec<Ipv4Addr>,
    registry: Vec<(Ipv4Addr, u16)>,
    machine: Vec<Ipv4Addr>,
}

impl Reach {
    /// As the machine and the platform are.
    pub fn of(host: &Host, platform: &Platform) -> Self {
        let port = platform.registry.rsplit_once(':');
        let port = port.and_then(|(_, port)| port.parse().ok()).unwrap_or(443);
        Self {
            dns: host.resolvers.clone(),
            registry: host
                .registry
                .iter()
                .map(|address| (*address, port))
                .collect(),
            machine: host.addresses.clone(),
        }
    }

    fn dns_rules(&self, chain: &str, verdict: &str) -> String {
        let mut rules = String::new();
        for server in &self.dns {
            for protocol in ["udp", "tcp"] {
                let _ = writeln!(
                    rules,
                    "-A {chain} -d {server} -p {protocol} --dport 53 -j {verdict}"
                );
            }
        }
        rules
    }

    fn refusals(&self, chain: &str) -> String {
        let mut rules = String::new();
        let refused = NOT_PUBLIC.iter().map(|&range| range.to_owned());
        for target in refused.chain(self.machine.iter().map(Ipv4Addr::to_string)) {
            let _ = writeln!(
                rules,
                "-A {chain} -d {target} -p tcp -j REJECT --reject-with tcp-reset\n-A {chain} -d {target} -j REJECT"
            );
        }
        rules
    }

    fn registry_rules(&self, chain: &str) -> String {
        let mut rules = String::new();
        for (address, port) in &self.registry {
            let _ = writeln!(
                rules,
                "-A {chain} -d {address} -p tcp --dport {port} -j ACCEPT"
            );
        }
        rules
    }
}

/// `ip -batch` on the machine.
pub fn host_links(layout: &Layout) -> String {
    format!(
        "link add {NAMESPACE} type veth peer name eth0 netns {NAMESPACE}\n\
         address add {}/30 dev {NAMESPACE}\n\
         link set {NAMESPACE} up\n",
        layout.host
    )
}

/// `ip -batch` in the namespace.
pub fn inside_links(layout: &Layout) -> String {
    format!(
        "link set lo up\n\
         address add {}/30 dev eth0\n\
         link set eth0 up\n\
         route add default via {}\n",
        layout.inside, layout.host
    )
}

/// In the namespace: nobody gets in, builds' containers and the fetching of sources are kept to the same.
/// `DOCKER-USER` is the chain that the engine leaves to its operator. What asks the machine's stub resolver
/// gets a real one.
pub fn inside_rules(reach: &Reach) -> String {
    let mut rules = format!(
        "*filter\n:INPUT DROP [0:0]\n:DOCKER-USER - [0:0]\n:RAILHEAD-FETCH - [0:0]\n\
         -A INPUT -i lo -j ACCEPT\n\
         -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
         -A OUTPUT -m owner --uid-owner {FETCH_UID} -j RAILHEAD-FETCH\n\
         -A DOCKER-USER -i eth0 -j RETURN\n"
    );
    for chain in ["DOCKER-USER", "RAILHEAD-FETCH"] {
        rules += &reach.dns_rules(chain, "RETURN");
        rules += &reach.refusals(chain);
    }
    rules += "COMMIT\n*nat\n";
    if let Some(server) = reach.dns.first() {
        for protocol in ["udp", "tcp"] {
            let _ = writeln!(
                rules,
                "-A OUTPUT -d 127.0.0.0/8 -p {protocol} --dport 53 -j DNAT --to-destination {server}"
            );
        }
    }
    rules + "-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
}

/// On the machine: what comes from the namespace passes as listed, nothing goes to it unasked.
pub fn host_rules(layout: &Layout, reach: &Reach) -> String {
    let forward = "RAILHEAD-BUILD";
    let input = "RAILHEAD-BUILD-IN";
    let mut rules = format!(
        "*filter\n:{forward} - [0:0]\n:{input} - [0:0]\n\
         -A {forward} -o {NAMESPACE} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
         -A {forward} -o {NAMESPACE} -j DROP\n\
         -A {forward} ! -i {NAMESPACE} -j RETURN\n"
    );
    rules += &reach.registry_rules(forward);
    rules += &reach.dns_rules(forward, "ACCEPT");
    rules += &reach.refusals(forward);
    let _ = writeln!(
        rules,
        "-A {forward} -p tcp -m multiport --dports {BUILD_PORTS} -j ACCEPT\n\
         -A {forward} -j REJECT\n\
         -A {input} ! -i {NAMESPACE} -j RETURN\n\
         -A {input} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    );
    rules += &reach.registry_rules(input);
    let _ = write!(
        rules,
        "-A {input} -j DROP\nCOMMIT\n*nat\n:{forward} - [0:0]\n\
         -A {forward} -s {}/32 ! -o {NAMESPACE} -j MASQUERADE\nCOMMIT\n",
        layout.inside
    );
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach() -> Reach {
        Reach {
            dns: vec!["10.96.250.3".parse().unwrap()],
            registry: vec![("10.96.0.1".parse().unwrap(), 5000)],
            machine: vec!["192.0.2.7".parse().unwrap()],
        }
    }

    /// The first rule of a chain that names `target`.
    fn position(rules: &str, needle: &str) -> usize {
        rules
            .find(needle)
            .unwrap_or_else(|| panic!("{needle} in {rules}"))
    }

    #[test]
    fn a_build_reaches_registry_and_names_but_no_private_network_and_not_the_machine() {
        let layout = Layout::of("10.208.0.0/16".parse().unwrap());
        let rules = host_rules(&layout, &reach());
        let refused = position(&rules, "-d 10.0.0.0/8 -p tcp -j REJECT");
        assert!(position(&rules, "-d 10.96.0.1 -p tcp --dport 5000 -j ACCEPT") < refused);
        assert!(position(&rules, "-d 10.96.250.3 -p udp --dport 53 -j ACCEPT") < refused);
        assert!(refused < position(&rules, "--dports 22,80,443 -j ACCEPT"));
        assert!(
            position(&rules, "-d 192.0.2.7 -j REJECT") < position(&rules, "--dports 22,80,443")
        );
        assert!(rules.contains("-A RAILHEAD-BUILD-IN -j DROP"));
    }

    #[test]
    fn fetching_is_kept_to_the_same_as_builds() {
        let rules = inside_rules(&reach());
        for chain in ["DOCKER-USER", "RAILHEAD-FETCH"] {
            let refused = position(&rules, &format!("-A {chain} -d 169.254.0.0/16 -j REJECT"));
            let dns = format!("-A {chain} -d 10.96.250.3 -p udp --dport 53 -j RETURN");
            assert!(position(&rules, &dns) < refused);
        }
    }
}
