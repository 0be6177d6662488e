//! What may pass between the namespaces of a local platform, as `iptables-restore` text. Pure: what it
//! returns is the whole rule set of a namespace, so that applying it twice changes nothing.

use std::{fmt::Write as _, net::Ipv4Addr};

use domain::network::{BUILD_PORTS, NOT_PUBLIC};

use super::plan::{Plan, Region, port};

/// The interface of the way out, in the router's namespace.
pub const INTERNET: &str = "tap0";

/// An address and port that the operator lets builds reach in spite of the private ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(String, u16);

impl std::str::FromStr for Allowed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, port) = text
            .rsplit_once(':')
            .ok_or_else(|| anyhow::anyhow!("\"{text}\" is not ADDRESS:PORT"))?;
        let address: Ipv4Addr = address.parse()?;
        Ok(Self(address.to_string(), port.parse()?))
    }
}

/// The router's rules: it forwards what is listed and rejects all else.
pub fn router(plan: &Plan, machine: &[Ipv4Addr], allowed: &[Allowed]) -> String {
    let mut rules = String::from("*filter\n:INPUT DROP\n:FORWARD DROP\n-F FORWARD\n");
    let mut rule = |text: String| writeln!(rules, "-A FORWARD {text}").unwrap_or_default();
    let [first, second] = plan.regions();
    rule(between_pools(&first, &second));
    rule(between_pools(&second, &first));
    rule("-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT".to_owned());
    rule(edge_to_edge(&first, &second));
    rule(edge_to_edge(&second, &first));
    for region in [&first, &second] {
        rule(to_machine(plan, region.address(), NODE_PORTS));
        rule(to_machine(plan, region.build_address(), ENGINE_PORTS));
        rule(from_machine(plan, region));
        for protocol in ["udp", "tcp"] {
            rule(to_dns(plan, region.address(), protocol));
        }
        build_ways_out(plan, region, machine, allowed, &mut rule);
    }
    rule("-p tcp -j REJECT --reject-with tcp-reset".to_owned());
    rule("-j REJECT --reject-with icmp-admin-prohibited".to_owned());
    let _ = write!(
        rules,
        "COMMIT\n*nat\n-F POSTROUTING\n-A POSTROUTING -o {INTERNET} -j MASQUERADE\nCOMMIT\n"
    );
    rules
}

/// A region's counters: packets between its containers and those of the `other` region, either way.
/// They stand in `mangle`, where Docker puts nothing.
pub fn region_counters(other: &Region) -> String {
    let pool = other.pool();
    let node = other.address();
    format!(
        "*mangle\n\
         -A FORWARD -o eth0 -d {pool} -m comment --comment \"to containers of {name}\"\n\
         -A FORWARD -i eth0 -s {pool} -m comment --comment \"from containers of {name}\"\n\
         -A FORWARD -o eth0 -d {node} -m comment --comment \"containers to node of {name}\"\n\
         COMMIT\n",
        name = other.name
    )
}

/// A build namespace from the start: nobody gets in, sources are fetched under the same rules as builds
/// run, and what asks the machine's own `resolvers` gets the platform's forwarder.
pub fn build_base(plan: &Plan, resolvers: &[Ipv4Addr]) -> String {
    let mut rules = format!(
        "*filter\n:INPUT DROP\n:{FETCH} -\n-F INPUT\n-F OUTPUT\n\
         -A INPUT -i lo -j ACCEPT\n\
         -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
         -A OUTPUT -m owner --uid-owner {FETCH_UID} -j {FETCH}\n\
         COMMIT\n*nat\n"
    );
    for resolver in resolvers {
        for protocol in ["udp", "tcp"] {
            let _ = writeln!(
                rules,
                "-A OUTPUT -d {resolver} -p {protocol} --dport 53 -j DNAT --to-destination {}",
                plan.dns()
            );
        }
    }
    rules.push_str("-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n");
    rules
}

/// What a build's containers (in the chain that Docker leaves to its operator) and the fetching of
/// sources may reach: the internet and DNS. The engine itself reaches what the router lets through,
/// the registry too.
pub fn build_sandbox(plan: &Plan, machine: &[Ipv4Addr], allowed: &[Allowed]) -> String {
    let mut rules =
        format!("*filter\n:{CONTAINERS} -\n:{FETCH} -\n-A {CONTAINERS} -i eth0 -j RETURN\n");
    for chain in [CONTAINERS, FETCH] {
        let mut rule = |text: String| writeln!(rules, "-A {chain} {text}").unwrap_or_default();
        for protocol in ["udp", "tcp"] {
            rule(format!(
                "-p {protocol} -d {} --dport 53 -j RETURN",
                plan.dns()
            ));
        }
        for Allowed(address, port) in allowed {
            rule(format!("-p tcp -d {address} --dport {port} -j RETURN"));
        }
        for target in refused_targets(machine) {
            rule(format!(
                "-d {target} -p tcp -j REJECT --reject-with tcp-reset"
            ));
            rule(format!("-d {target} -j REJECT"));
        }
    }
    rules.push_str("COMMIT\n");
    rules
}

const CONTAINERS: &str = "DOCKER-USER";
const FETCH: &str = "RAILHEAD-FETCH";
/// `nobody`: git runs as this user.
const FETCH_UID: u32 = 65_534;

const NODE_PORTS: &[u16] = &[port::NODE, port::API, port::REGISTRY, port::OTLP];
/// Registry tokens reach an engine with the build that needs them.
const ENGINE_PORTS: &[u16] = &[port::REGISTRY];

fn between_pools(from: &Region, to: &Region) -> String {
    format!(
        "-s {} -d {} -m comment --comment \"containers of {} to containers of {}\" -j DROP",
        from.pool(),
        to.pool(),
        from.name,
        to.name
    )
}

fn edge_to_edge(from: &Region, to: &Region) -> String {
    format!(
        "-p tcp -s {} -d {} --dport {} -m comment --comment \"edge of {} to edge of {}\" -j ACCEPT",
        from.address(),
        to.address(),
        port::FORWARD,
        from.name,
        to.name
    )
}

fn to_machine(plan: &Plan, from: Ipv4Addr, ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    format!(
        "-p tcp -s {from} -d {} -m multiport --dports {} -j ACCEPT",
        plan.host(),
        ports.join(",")
    )
}

/// Workloads and builds ask the forwarder: a name that nobody has is then an answer, not a wait.
fn to_dns(plan: &Plan, from: Ipv4Addr, protocol: &str) -> String {
    format!(
        "-p {protocol} -s {from} -d {} --dport 53 -j ACCEPT",
        plan.dns()
    )
}

fn from_machine(plan: &Plan, region: &Region) -> String {
    format!(
        "-p tcp -s {} -d {} -m multiport --dports 80,443,{},{} -j ACCEPT",
        plan.host(),
        region.address(),
        port::AGENT_METRICS,
        port::EDGE_METRICS
    )
}

fn build_ways_out(
    plan: &Plan,
    region: &Region,
    machine: &[Ipv4Addr],
    allowed: &[Allowed],
    rule: &mut impl FnMut(String),
) {
    let from = region.build_address();
    for Allowed(address, port) in allowed {
        rule(format!(
            "-p tcp -s {from} -d {address} --dport {port} -j ACCEPT"
        ));
    }
    for protocol in ["udp", "tcp"] {
        rule(to_dns(plan, from, protocol));
    }
    for target in refused_targets(machine) {
        rule(format!(
            "-s {from} -d {target} -p tcp -j REJECT --reject-with tcp-reset"
        ));
        rule(format!("-s {from} -d {target} -j REJECT"));
    }
    rule(format!(
        "-p tcp -s {from} -o {INTERNET} -m multiport --dports {BUILD_PORTS} -j ACCEPT"
    ));
}

fn refused_targets(machine: &[Ipv4Addr]) -> Vec<String> {
    NOT_PUBLIC
        .iter()
        .map(|&range| range.to_owned())
        .chain(machine.iter().map(Ipv4Addr::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::slot::Slot;

    fn plan() -> Plan {
        Plan::new("/p".into(), Slot::new(0).unwrap())
    }

    #[test]
    fn everything_not_listed_is_rejected() {
        let rules = router(&plan(), &[], &[]);
        assert!(rules.contains(":FORWARD DROP"));
        assert!(rules.contains("-j REJECT --reject-with icmp-admin-prohibited\nCOMMIT"));
    }

    #[test]
    fn regions_meet_at_their_edges_only() {
        let rules = router(&plan(), &[], &[]);
        let between: Vec<_> = rules
            .lines()
            .filter(|rule| rule.contains("-s 10.96.1.2 -d 10.96.2.2"))
            .collect();
        assert_eq!(between.len(), 1, "{between:?}");
        assert!(between[0].contains("--dport 7443"));
    }

    #[test]
    fn a_build_never_reaches_the_machine_unless_the_operator_says_so() {
        let machine = ["192.0.2.2".parse().unwrap()];
        let rules = build_sandbox(&plan(), &machine, &["10.96.0.1:2222".parse().unwrap()]);
        let allowed = rules.find("-d 10.96.0.1 --dport 2222 -j RETURN").unwrap();
        let refused = rules.find("-d 10.0.0.0/8 -p tcp -j REJECT").unwrap();
        assert!(allowed < refused);
        assert!(rules.contains("-d 192.0.2.2 -j REJECT"));
        assert!(rules.contains("-d 169.254.0.0/16 -j REJECT"));
    }

    #[test]
    fn an_exception_must_be_an_address_and_a_port() {
        assert!("10.96.0.1".parse::<Allowed>().is_err());
        assert!("example.com:22".parse::<Allowed>().is_err());
    }
}
