//! Own chains in the agent's network namespace, hooked into INPUT and DOCKER-USER. The whole chain
//! is replaced at once, so there is no moment without rules, and only when it is not what it should be.

use std::{collections::BTreeSet, net::Ipv4Addr};

use async_trait::async_trait;
use domain::{id::EnvironmentId, network::METADATA};
use ipnet::Ipv4Net;
use tokio::sync::Mutex;

use super::{
    Guard, bridge_name,
    iptables::{self, Error, ensure_chain, ensure_hook, restore, run},
    standby::Standby,
};
use crate::runtime::PublishedPort;

/// The node's firewall for workloads.
#[derive(Debug)]
pub struct Firewall {
    denied: Vec<Ipv4Net>,
    dns: Vec<Ipv4Addr>,
    applied: Mutex<Option<Applied>>,
    standby: Mutex<Standby>,
}

/// What was loaded, and how the kernel shows it: neither may have changed.
#[derive(Debug, PartialEq, Eq)]
struct Applied {
    rules: String,
    shown: String,
}

impl Firewall {
    /// With what the operator denies, and the name servers that workloads reach nonetheless.
    #[must_use]
    pub fn new(denied: Vec<Ipv4Net>, dns: Vec<Ipv4Addr>) -> Self {
        Self {
            denied,
            dns,
            applied: Mutex::new(None),
            standby: Mutex::default(),
        }
    }
}

#[async_trait]
impl Guard for Firewall {
    /// Cheap when the rules are in force already.
    async fn ensure(&self, environments: &BTreeSet<EnvironmentId>) -> Result<(), Error> {
        let mut applied = self.applied.lock().await;
        let rules = rules(environments, &self.denied, &self.dns);
        let in_force = Applied {
            shown: shown().await?,
            rules,
        };
        if applied.as_ref() != Some(&in_force) {
            restore("iptables-restore", &in_force.rules).await?;
            ensure_ipv6().await?;
            *applied = Some(Applied {
                shown: shown().await?,
                ..in_force
            });
        }
        ensure_hook("filter", "INPUT", "RAILHEAD-INPUT").await?;
        ensure_chain("DOCKER-USER").await?;
        ensure_hook("filter", "DOCKER-USER", "RAILHEAD-FORWARD").await
    }

    async fn stand_by(&self, ports: &BTreeSet<PublishedPort>) -> Result<(), Error> {
        self.standby.lock().await.raise(ports).await
    }

    async fn stand_down(&self) -> Result<(), Error> {
        self.standby.lock().await.lower().await
    }
}

/// The rules, in the format of `iptables-restore`.
fn rules(environments: &BTreeSet<EnvironmentId>, denied: &[Ipv4Net], dns: &[Ipv4Addr]) -> String {
    let within = environments.iter().map(|environment| {
        let bridge = bridge_name(*environment);
        format!("-A RAILHEAD-FORWARD -i {bridge} -o {bridge} -j RETURN\n")
    });
    let dns = dns.iter().flat_map(|server| {
        ["udp", "tcp"].map(|protocol| {
            format!("-A RAILHEAD-FORWARD -i rh-+ -d {server} -p {protocol} --dport 53 -j RETURN\n")
        })
    });
    let denied = METADATA
        .into_iter()
        .map(str::to_owned)
        .chain(denied.iter().map(Ipv4Net::to_string))
        .map(|net| format!("-A RAILHEAD-FORWARD -i rh-+ -d {net} -j DROP\n"));
    format!(
        "*filter
:RAILHEAD-INPUT - [0:0]
:RAILHEAD-FORWARD - [0:0]
-A RAILHEAD-INPUT -i rh-+ -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A RAILHEAD-INPUT -i rh-+ -j DROP
-A RAILHEAD-FORWARD -i rh-+ -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A RAILHEAD-FORWARD -o rh-+ -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A RAILHEAD-FORWARD -i rh-+ -m conntrack --ctstate DNAT -j DROP
{}-A RAILHEAD-FORWARD -i rh-+ -o rh-+ -j DROP
-A RAILHEAD-FORWARD -o rh-+ -m conntrack ! --ctstate DNAT -j DROP
{}{}COMMIT
",
        within.collect::<String>(),
        dns.collect::<String>(),
        denied.collect::<String>()
    )
}

/// Workloads have no IPv6; this holds even if an engine should give them some.
const IPV6_RULES: &str = "*filter
:RAILHEAD-INPUT - [0:0]
:RAILHEAD-FORWARD - [0:0]
-A RAILHEAD-INPUT -i rh-+ -j DROP
-A RAILHEAD-FORWARD -i rh-+ -j DROP
-A RAILHEAD-FORWARD -o rh-+ -j DROP
COMMIT
";

async fn ensure_ipv6() -> Result<(), Error> {
    if run("ip6tables", &["-w", "5", "-S", "INPUT"]).await.is_err() {
        return Ok(());
    }
    restore("ip6tables-restore", IPV6_RULES).await?;
    for (from, to) in [("INPUT", "RAILHEAD-INPUT"), ("FORWARD", "RAILHEAD-FORWARD")] {
        if run("ip6tables", &["-w", "5", "-C", from, "-j", to])
            .await
            .is_err()
        {
            run("ip6tables", &["-w", "5", "-I", from, "1", "-j", to]).await?;
        }
    }
    Ok(())
}

/// Our chains as the kernel shows them; empty when they aren't there.
async fn shown() -> Result<String, Error> {
    let mut all = String::new();
    for chain in ["RAILHEAD-INPUT", "RAILHEAD-FORWARD"] {
        match run("iptables", &["-w", "5", "-S", chain]).await {
            Ok(text) => all.push_str(&text),
            Err(iptables::Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules() {
        let environment: EnvironmentId = "env_0192f3c8000070008000a1b2c3d4e5f6".parse().unwrap();
        let denied = ["10.96.0.0/16".parse().unwrap()];
        let dns = ["10.96.250.3".parse().unwrap()];
        insta::assert_snapshot!(rules(&[environment].into(), &denied, &dns));
    }
}
