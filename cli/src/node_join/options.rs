//! What an operator may decide about a machine that joins. Everything has a default made of the machine.

use std::{net::Ipv4Addr, path::PathBuf};

use clap::Args;
use domain::{
    name::Name,
    quantity::{Bytes, InvalidQuantity, MilliCpu},
};
use ipnet::{IpNet, Ipv4Net};

/// `railhead node join TOKEN …`
#[derive(Debug, Clone, Default, Args)]
#[allow(clippy::struct_excessive_bools)]
pub struct Options {
    /// From railhead node token; - reads it from standard input, where no list of processes shows it
    pub token: String,
    /// What the node is called; the host name unless given
    #[arg(long)]
    pub name: Option<Name>,
    /// Where other nodes and users reach it; the address on the way to the control plane unless given
    #[arg(long)]
    pub address: Option<Ipv4Addr>,
    /// CPU cores for workloads; all less a reserve unless given
    #[arg(long, value_name = "CORES", value_parser = cores)]
    pub cpu: Option<MilliCpu>,
    /// Memory for workloads; all less a reserve and the share of builds unless given
    #[arg(long)]
    pub memory: Option<Bytes>,
    /// A /16 for containers that nothing else on the machine's network uses
    #[arg(long, value_name = "NETWORK")]
    pub container_network: Option<Ipv4Net>,
    /// What workloads may not reach; all private networks unless given (may be repeated)
    #[arg(long, value_name = "NETWORK")]
    pub denied: Vec<Ipv4Net>,
    /// Where /metrics of agent and edge are; loopback unless given
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_address: Option<Ipv4Addr>,
    /// Load balancers before the edge, which say by the PROXY protocol who the user is (may be repeated)
    #[arg(long, value_name = "NETWORK")]
    pub trusted_proxies: Vec<IpNet>,
    /// File with the address (redis://…) of the Redis in which all edges count rate limits together
    #[arg(long, value_name = "FILE")]
    pub limit_redis_file: Option<PathBuf>,
    /// Database in MaxMind's format that says where addresses are, for edge rules (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub geo_database: Vec<PathBuf>,
    /// Largest size of the build engine's disk
    #[arg(long, value_name = "SIZE")]
    pub build_disk: Option<Bytes>,
    /// More certificate authorities (PEM) that builds trust, for an inspecting proxy
    #[arg(long, value_name = "FILE")]
    pub build_ca: Option<PathBuf>,
    /// No edge on this machine
    #[arg(long)]
    pub no_edge: bool,
    /// No agent on this machine: it carries traffic only
    #[arg(long, conflicts_with = "no_edge")]
    pub no_agent: bool,
    /// Build no images on this machine
    #[arg(long)]
    pub no_build: bool,
    /// Where agent and edge-proxy of this release lie; beside railhead unless given
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// Install Debian's or Ubuntu's packages of programs that are missing
    #[arg(long)]
    pub install_packages: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn cores(text: &str) -> Result<MilliCpu, String> {
    let cores = text.parse::<f64>().map_err(|error| error.to_string())?;
    MilliCpu::from_cores(cores).map_err(|error: InvalidQuantity| error.to_string())
}
