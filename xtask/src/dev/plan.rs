//! What a local platform is made of: every address, name and path, derived from its folder and its
//! slot alone. Several platforms live side by side on one machine, each in a slot of its own.

use std::{
    env,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::slot::Slot;
use crate::cargo::workspace;

/// The two regions of the local platform, in the order of their addresses.
pub const REGIONS: [&str; 2] = ["us-east", "eu-west"];
/// So that one of them can go.
pub const CONTROL_PLANES: u8 = 2;
/// The name that services get their default addresses under.
pub const PLATFORM_DOMAIN: &str = "railhead.test";

/// Ports on the host's side of the platform.
pub mod port {
    /// The public API.
    pub const API: u16 = 8443;
    /// The node API.
    pub const NODE: u16 = 8444;
    /// Metrics and readiness of a control plane.
    pub const METRICS: u16 = 8445;
    /// The registry.
    pub const REGISTRY: u16 = 5000;
    /// The name server of tenants' hostnames.
    pub const DNS: u16 = 53;
    /// The certificate authority of tenants' hostnames.
    pub const ACME: u16 = 14_000;
    /// Where it shows its root.
    pub const ACME_ROOTS: u16 = 15_000;
    /// Where an OTLP sink may listen.
    pub const OTLP: u16 = 4318;
    /// Where tests serve git over ssh.
    pub const TEST_GIT: u16 = 2222;
    /// Where a test listens for what its build must reach.
    pub const TEST_OPEN: u16 = 2223;
    /// Edge to edge.
    pub const FORWARD: u16 = 7443;
    /// Edge to agent, within a region.
    pub const AGENT: u16 = 7444;
    /// Metrics of an agent.
    pub const AGENT_METRICS: u16 = 9101;
    /// Metrics of an edge.
    pub const EDGE_METRICS: u16 = 9102;
}

/// A local platform.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Data that `down` keeps. Processes reach it through [`Plan::data`].
    pub dir: PathBuf,
    /// Its place among the platforms of this machine.
    pub slot: Slot,
    /// How many control planes there are behind the balancer.
    pub control_planes: u8,
}

/// One of the control planes behind the balancer.
#[derive(Debug, Clone, Copy)]
pub struct Replica {
    number: u8,
    slot: Slot,
}

/// One region: a node with an engine, an agent, an edge and a build engine.
#[derive(Debug, Clone)]
pub struct Region {
    /// `us-east`.
    pub name: &'static str,
    /// 1 or 2: the third byte of its addresses.
    pub number: u8,
    slot: Slot,
    dir: PathBuf,
    run: PathBuf,
}

/// The folder of the platform that this checkout (or `RAILHEAD_DEV_DIR`) means.
pub fn platform_dir() -> Result<PathBuf> {
    let dir = match env::var_os("RAILHEAD_DEV_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace()?.join(".dev"),
    };
    std::path::absolute(&dir).with_context(|| format!("finding {}", dir.display()))
}

impl Plan {
    /// What the platform in `dir` looks like in `slot`.
    pub fn new(dir: PathBuf, slot: Slot) -> Self {
        Self {
            dir,
            slot,
            control_planes: CONTROL_PLANES,
        }
    }

    /// Sockets, pid files and state: gone after a restart of the machine, short enough for sockets.
    pub fn run(&self) -> PathBuf {
        self.slot.run()
    }

    /// The platform's folder, mounted where every user may reach it, wherever the checkout lies.
    pub fn data(&self) -> PathBuf {
        self.run().join("data")
    }

    /// The machine's address on the platform's network; balancer and registry listen there.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.slot.network(), 0, 1)
    }

    /// The router's address towards the machine.
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.slot.network(), 0, 2)
    }

    /// The platform's whole network, less the containers'.
    pub fn network(&self) -> String {
        format!("10.{}.0.0/16", self.slot.network())
    }

    /// The network of the way out to the internet, for builds only.
    pub fn internet(&self) -> String {
        format!("10.{}.250.0/24", self.slot.network())
    }

    /// Answers DNS queries of builds and workloads with what the machine's own resolver says.
    pub fn dns(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.slot.network(), 250, 3)
    }

    /// The router's namespace.
    pub fn router_netns(&self) -> String {
        self.slot.name("wan")
    }

    /// Both regions.
    pub fn regions(&self) -> [Region; 2] {
        let region = |name, number| Region {
            name,
            number,
            slot: self.slot,
            dir: self.data().join(name),
            run: self.run().join(name),
        };
        let [first, second] = REGIONS;
        [region(first, 1), region(second, 2)]
    }

    /// The control planes.
    pub fn replicas(&self) -> impl Iterator<Item = Replica> {
        (1..=self.control_planes).map(|number| Replica {
            number,
            slot: self.slot,
        })
    }

    /// The first of them.
    pub fn first_replica(&self) -> Replica {
        Replica {
            number: 1,
            slot: self.slot,
        }
    }

    /// The processes that a name on the command line means: `control-plane` is all replicas.
    pub fn processes_called(&self, name: &str) -> Vec<String> {
        match name {
            "control-plane" => self.replicas().map(|replica| replica.name()).collect(),
            _ => vec![name.to_owned()],
        }
    }

    /// Copies of our binaries, so that a rebuild does not change a running platform.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.data().join("bin").join(name)
    }

    /// One log file per process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.data().join("log").join(format!("{name}.log"))
    }

    /// The platform's CA, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.data().join("ca.pem")
    }

    /// The system's CAs and the platform's, for engines.
    pub fn ca_bundle(&self) -> PathBuf {
        self.data().join("ca-bundle.pem")
    }

    /// Configuration files, written anew by each `up`.
    pub fn config(&self, name: &str) -> PathBuf {
        self.data().join("config").join(name)
    }

    /// Keys, tokens and passwords, readable by root only.
    pub fn secret_file(&self, name: &str) -> PathBuf {
        self.data().join("secrets").join(name)
    }

    /// An administrator's API token.
    pub fn admin_token_file(&self) -> PathBuf {
        self.secret_file("admin.token")
    }

    /// `host:port` of the registry.
    pub fn registry(&self) -> String {
        format!("{}:{}", self.host(), port::REGISTRY)
    }

    /// The base of the public API.
    pub fn api_url(&self) -> String {
        format!("https://{}:{}", self.host(), port::API)
    }

    /// The base of the node API.
    pub fn node_url(&self) -> String {
        format!("https://{}:{}", self.host(), port::NODE)
    }

    /// PostgreSQL's port on loopback.
    pub fn postgres_port(&self) -> u16 {
        15_400 + u16::from(self.slot.number())
    }
}

impl Replica {
    /// `control-plane-1`: its process.
    pub fn name(&self) -> String {
        format!("control-plane-{}", self.number)
    }

    /// On loopback, where the balancer alone reaches it.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.slot.network(), 0, self.number)
    }

    /// Its metrics and readiness, for whoever scrapes.
    pub fn metrics_url(&self) -> String {
        format!("http://{}:{}", self.address(), port::METRICS)
    }
}

impl Region {
    /// The node's address: its edge listens there and its instances are published there.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.slot.network(), self.number, 2)
    }

    /// The build engine's address.
    pub fn build_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.slot.network(), 10 + self.number, 2)
    }

    /// The node's namespace.
    pub fn netns(&self) -> String {
        self.slot.name(self.name)
    }

    /// The build engine's namespace.
    pub fn build_netns(&self) -> String {
        self.slot.name(&format!("{}-build", self.name))
    }

    /// Addresses of the region's containers.
    pub fn pool(&self) -> String {
        format!("10.{}.{}.0/17", self.slot.containers(), self.third_byte())
    }

    /// The engine's own bridge, the last network of the pool.
    pub fn bridge(&self) -> String {
        format!(
            "10.{}.{}.1/24",
            self.slot.containers(),
            self.third_byte() + 127
        )
    }

    /// The build engine's bridge.
    pub fn build_bridge(&self) -> String {
        format!("10.{}.{}.1/24", self.slot.network(), 110 + self.number)
    }

    /// `us-east-1`: the node's name.
    pub fn node(&self) -> String {
        format!("{}-1", self.name)
    }

    /// The name of one of the region's processes, such as `us-east-agent`.
    pub fn process(&self, role: &str) -> String {
        format!("{}-{role}", self.name)
    }

    /// Data below the platform's folder.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Sockets and pid files.
    pub fn run(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// The cgroup of the region's containers (`docker`) or builds (`build`).
    pub fn cgroup(&self, name: &str) -> String {
        format!("/{}/{}-{name}", self.slot.cgroup(), self.name)
    }

    fn third_byte(&self) -> u8 {
        (self.number - 1) * 128
    }
}

/// Where `ip netns` keeps a namespace.
pub fn netns_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_documentation() {
        let plan = Plan::new("/p/.dev".into(), Slot::new(0).unwrap());
        let [us, eu] = plan.regions();
        assert_eq!(plan.host().to_string(), "10.96.0.1");
        assert_eq!(
            [us.address(), eu.address()].map(|a| a.to_string()),
            ["10.96.1.2", "10.96.2.2"]
        );
        assert_eq!(
            [us.build_address(), eu.build_address()].map(|a| a.to_string()),
            ["10.96.11.2", "10.96.12.2"]
        );
        assert_eq!(
            plan.replicas()
                .map(|replica| replica.address().to_string())
                .collect::<Vec<_>>(),
            ["127.96.0.1", "127.96.0.2"]
        );
        assert_eq!([us.pool(), eu.pool()], ["10.112.0.0/17", "10.112.128.0/17"]);
        assert_eq!(
            [us.bridge(), eu.bridge()],
            ["10.112.127.1/24", "10.112.255.1/24"]
        );
    }

    #[test]
    fn two_platforms_share_no_address_port_or_name() {
        let plans = [0, 15].map(|slot| Plan::new("/p".into(), Slot::new(slot).unwrap()));
        let [first, last] = plans;
        assert_ne!(first.host(), last.host());
        assert_ne!(first.postgres_port(), last.postgres_port());
        assert_ne!(
            first.first_replica().address(),
            last.first_replica().address()
        );
        assert_ne!(first.router_netns(), last.router_netns());
        assert_eq!(last.network(), "10.111.0.0/16");
        assert_eq!(last.regions()[1].pool(), "10.127.128.0/17");
    }
}
