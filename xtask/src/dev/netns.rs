//! The platform's network: a router namespace with one cable to the machine, to each region and to each
//! build engine. Nothing of the machine's own network is changed but one interface and one route.

use std::{fs, io::ErrorKind, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{
    firewall::{self, Allowed},
    plan::{Plan, netns_path},
};
use crate::command::{CommandExt as _, command};

struct Cable {
    netns: String,
    /// Name of the router's end.
    port: String,
    router: Ipv4Addr,
    address: Ipv4Addr,
}

/// Makes what is missing and sets the rules that changed.
pub fn ensure(plan: &Plan, allowed: &[Allowed]) -> Result<()> {
    let router = plan.router_netns();
    if !netns_path(&router).exists() {
        forget_rules(plan, &router)?;
        make_router(plan).context("making the router's namespace")?;
    }
    for cable in cables(plan) {
        if !netns_path(&cable.netns).exists() {
            forget_rules(plan, &cable.netns)?;
            connect(plan, &cable).with_context(|| format!("making namespace {}", cable.netns))?;
        }
    }
    set_rules(plan, &machine_addresses(plan)?, allowed)
}

fn set_rules(plan: &Plan, machine: &[Ipv4Addr], allowed: &[Allowed]) -> Result<()> {
    let router = plan.router_netns();
    restore(
        plan,
        &router,
        "router",
        &firewall::router(plan, machine, allowed),
    )?;
    let [first, second] = plan.regions();
    for (region, other) in [(&first, &second), (&second, &first)] {
        restore(
            plan,
            &region.netns(),
            "counters",
            &firewall::region_counters(other),
        )?;
        let build = region.build_netns();
        restore(
            plan,
            &build,
            "base",
            &firewall::build_base(plan, &resolvers()?),
        )?;
        restore(
            plan,
            &build,
            "sandbox",
            &firewall::build_sandbox(plan, machine, allowed),
        )?;
    }
    Ok(())
}

/// Removes every namespace of the platform; cables and rules go with them.
pub fn remove(plan: &Plan) -> Result<()> {
    let mut names: Vec<_> = cables(plan).into_iter().map(|cable| cable.netns).collect();
    names.push(plan.router_netns());
    for name in names {
        if netns_path(&name).exists() {
            command(["ip", "netns", "delete", &name]).read()?;
        }
    }
    // The kernel tears a namespace down in its own time; the cable's end here goes at once.
    if interface_exists(&host_interface(plan)) {
        command(["ip", "link", "delete", &host_interface(plan)]).read()?;
    }
    Ok(())
}

fn cables(plan: &Plan) -> Vec<Cable> {
    let gateway = |address: Ipv4Addr| {
        let [a, b, c, _] = address.octets();
        Ipv4Addr::new(a, b, c, 1)
    };
    let mut cables = Vec::new();
    for region in plan.regions() {
        cables.push(Cable {
            netns: region.netns(),
            port: region.name.to_owned(),
            router: gateway(region.address()),
            address: region.address(),
        });
        cables.push(Cable {
            netns: region.build_netns(),
            port: format!("{}-build", region.name),
            router: gateway(region.build_address()),
            address: region.build_address(),
        });
    }
    cables
}

fn make_router(plan: &Plan) -> Result<()> {
    let router = plan.router_netns();
    make_namespace(&router)?;
    let here = host_interface(plan);
    ip(&[
        "link", "add", &here, "type", "veth", "peer", "name", "host", "netns", &router,
    ])?;
    ip(&[
        "address",
        "add",
        &format!("{}/24", plan.host()),
        "dev",
        &here,
    ])?;
    ip(&["link", "set", &here, "up"])?;
    let there = ["-n", &router];
    ip(&[
        &there[..],
        &[
            "address",
            "add",
            &format!("{}/24", plan.router()),
            "dev",
            "host",
        ],
    ]
    .concat())?;
    ip(&[&there[..], &["link", "set", "host", "up"]].concat())?;
    let via = plan.router().to_string();
    ip(&["route", "replace", &plan.network(), "via", &via])
}

fn connect(plan: &Plan, cable: &Cable) -> Result<()> {
    let router = plan.router_netns();
    let netns = cable.netns.as_str();
    make_namespace(netns)?;
    ip(&[
        "-n",
        &router,
        "link",
        "add",
        &cable.port,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        netns,
    ])?;
    ip(&[
        "-n",
        &router,
        "address",
        "add",
        &format!("{}/24", cable.router),
        "dev",
        &cable.port,
    ])?;
    ip(&["-n", &router, "link", "set", &cable.port, "up"])?;
    ip(&[
        "-n",
        netns,
        "address",
        "add",
        &format!("{}/24", cable.address),
        "dev",
        "eth0",
    ])?;
    ip(&["-n", netns, "link", "set", "eth0", "up"])?;
    ip(&[
        "-n",
        netns,
        "route",
        "add",
        "default",
        "via",
        &cable.router.to_string(),
    ])
}

/// A namespace that forwards and knows no IPv6: what has no rule must have no path.
fn make_namespace(name: &str) -> Result<()> {
    ip(&["netns", "add", name])?;
    ip(&["-n", name, "link", "set", "lo", "up"])?;
    for setting in [
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1",
        "net.ipv4.conf.all.route_localnet=1",
        "net.ipv4.ip_unprivileged_port_start=0",
    ] {
        inside(name, &["sysctl", "-qw", setting]).read()?;
    }
    Ok(())
}

fn host_interface(plan: &Plan) -> String {
    plan.slot.name("host")
}

fn interface_exists(name: &str) -> bool {
    command(["ip", "link", "show", name]).succeeds()
}

/// The machine's own addresses, but for the platform's: builds may reach none of them.
fn machine_addresses(plan: &Plan) -> Result<Vec<Ipv4Addr>> {
    let listed = command(["ip", "-4", "-o", "address", "show", "scope", "global"]).read()?;
    Ok(listed
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .nth(3)?
                .split('/')
                .next()?
                .parse()
                .ok()
        })
        .filter(|address| *address != plan.host())
        .collect())
}

/// The servers that programs of this machine ask.
fn resolvers() -> Result<Vec<Ipv4Addr>> {
    let text = fs::read_to_string("/etc/resolv.conf").context("reading /etc/resolv.conf")?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .collect())
}

fn ip(arguments: &[&str]) -> Result<()> {
    command(["ip"]).args(arguments).read().map(drop)
}

/// A command in a namespace; `nsenter` and not `ip netns exec`, which hides the cgroup mounts.
pub fn inside(netns: &str, words: &[&str]) -> std::process::Command {
    let mut enter = command(["nsenter"]);
    enter
        .arg(format!("--net={}", netns_path(netns).display()))
        .arg("--")
        .args(words);
    enter
}

/// Applies a rule set unless it is the one applied last, so that counters run on. Chains that the text
/// declares are replaced; Docker's own stay.
fn restore(plan: &Plan, netns: &str, part: &str, rules: &str) -> Result<()> {
    let applied = applied_rules(plan, netns).join(part);
    if fs::read_to_string(&applied).is_ok_and(|last| last == rules) {
        return Ok(());
    }
    inside(netns, &["iptables-restore", "--noflush"])
        .read_with(rules)
        .with_context(|| format!("setting the rules of {netns}"))?;
    fs::create_dir_all(applied_rules(plan, netns))?;
    fs::write(&applied, rules).with_context(|| format!("writing {}", applied.display()))
}

fn applied_rules(plan: &Plan, netns: &str) -> PathBuf {
    plan.run().join("firewall").join(netns)
}

/// A new namespace has no rules yet, whatever was applied to one of its name.
fn forget_rules(plan: &Plan, netns: &str) -> Result<()> {
    match fs::remove_dir_all(applied_rules(plan, netns)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
