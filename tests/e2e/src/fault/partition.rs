//! Parts of the platform that can't reach one another, by rules that drop packets without a word.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use super::rules::{Rule, Rules};
use crate::platform::Platform;

/// Who is cut off from the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party<'a> {
    /// Everything in a region: from the control plane, the registry and the other regions. Its users
    /// still reach it.
    Region(&'a str),
    /// One process of a node, such as `us-east-agent`: from the control plane alone.
    Process(&'a str),
}

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All.
    Both,
    /// Those to the party.
    In,
    /// Those of the party.
    Out,
}

/// A partition that is there; dropping this heals it.
#[derive(Debug)]
pub struct Partition {
    rules: Option<Rules>,
}

impl Partition {
    /// Begins one: each packet of `way` is dropped with probability `loss`.
    pub async fn begin(platform: &Platform, party: Party<'_>, way: Way, loss: f32) -> Result<Self> {
        let drop = if loss < 1.0 {
            format!("-m statistic --mode random --probability {loss} -j DROP")
        } else {
            "-j DROP".to_owned()
        };
        let rules = match party {
            Party::Region(region) => region_rules(platform, region, way, &drop)?,
            Party::Process(name) => process_rules(platform, name, way, &drop).await?,
        };
        let netns = match party {
            Party::Region(_) => &platform.status.router_netns,
            Party::Process(name) => &platform.region_of(name)?.netns,
        };
        Ok(Self {
            rules: Some(Rules::set(netns, &rules)?),
        })
    }

    /// Ends it; how many packets it has swallowed.
    pub fn heal(&mut self) -> Result<u64> {
        self.rules.take().map_or(Ok(0), |rules| rules.packets())
    }
}

/// In the router, between the region and the rest; but for what users of its edge send and get.
fn region_rules(platform: &Platform, region: &str, way: Way, drop: &str) -> Result<Vec<Rule>> {
    let here = platform.status.regions[region].address;
    let control_plane = platform.node_api()?.ip();
    let others = platform.status.regions.values().map(|other| other.address);
    let mut rules = Vec::new();
    for there in others.filter(|there| *there != here).chain([control_plane]) {
        // The control plane's address is the load's too.
        let (from_users, to_users) = if there == control_plane {
            (
                "-m multiport ! --dports 80,443",
                "-m multiport ! --sports 80,443",
            )
        } else {
            ("", "")
        };
        if way != Way::Out {
            let text = format!("-p tcp -s {there} -d {here} {from_users} {drop}");
            rules.push(Rule::filter("FORWARD", text));
        }
        if way != Way::In {
            let text = format!("-p tcp -s {here} -d {there} {to_users} {drop}");
            rules.push(Rule::filter("FORWARD", text));
        }
    }
    Ok(rules)
}

/// In the node's namespace, by the process's cgroup: agent and edge of a node share its address.
async fn process_rules(platform: &Platform, name: &str, way: Way, drop: &str) -> Result<Vec<Rule>> {
    let node_api = platform.node_api()?;
    let (address, port): (IpAddr, u16) = (node_api.ip(), node_api.port());
    let own = format!("-m cgroup --path {}", cgroup(platform, name).await?);
    let mut rules = Vec::new();
    if way != Way::Out {
        let text = format!("-p tcp -s {address} --sport {port} {own} {drop}");
        rules.push(Rule::filter("INPUT", text));
    }
    if way != Way::In {
        let text = format!("-p tcp -d {address} --dport {port} {own} {drop}");
        rules.push(Rule::filter("OUTPUT", text));
    }
    Ok(rules)
}

/// The process's own group in the tree that the firewall knows.
async fn cgroup(platform: &Platform, name: &str) -> Result<String> {
    let pid = platform.process(name).await?.pid;
    let pid = pid.with_context(|| format!("{name} is not running"))?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .with_context(|| format!("reading the cgroup of {name}"))?;
    let path = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    ensure!(
        path.ends_with(&format!("process-{name}")),
        "{name} is in the cgroup \"{path}\" and not in one of its own"
    );
    Ok(path.to_owned())
}
