//! `agent.toml`. Unknown keys are refused, so that a misspelt limit is not silently no limit.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use domain::name::Name;
use ipnet::Ipv4Net;
use protocol::report::Capacity;
use serde::Deserialize;
use url::Url;

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read the configuration file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what is expected.
    #[error("the configuration file {path} is not valid: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

/// Everything an operator sets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the control plane's node API is.
    pub control_plane: Url,
    /// What this node is called, for people.
    pub name: Name,
    /// Everything the agent keeps on disk.
    pub state_dir: PathBuf,
    /// Used once, when there is no identity on disk yet.
    pub join_token_file: Option<PathBuf>,
    /// Host ports of instances are published on this address only.
    pub address: IpAddr,
    /// Where edges ask this agent, over mTLS.
    pub listen: SocketAddr,
    /// `/metrics`, `/healthz` and `/readyz`.
    pub listen_metrics: SocketAddr,
    /// First and last host port that instances get.
    #[serde(default = "host_ports")]
    pub host_ports: (u16, u16),
    /// What this node offers to workloads.
    pub capacity: Capacity,
    /// The engine that runs workloads.
    pub docker: Docker,
    /// What workloads may reach.
    #[serde(default)]
    pub network: Network,
    /// What stays on the node's disk, and how long.
    #[serde(default)]
    pub garbage: Garbage,
    /// The engine that builds images; without it this node builds none.
    pub build: Option<crate::build::Config>,
    /// Traces and log filter.
    #[serde(default)]
    pub telemetry: Telemetry,
}

fn host_ports() -> (u16, u16) {
    (20_000, 39_999)
}

/// The engine that runs workloads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Its unix socket.
    pub socket: PathBuf,
}

/// What workloads may reach.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Beside the host, link-local (metadata) addresses and other environments, which are always denied.
    pub denied: Vec<Ipv4Net>,
    /// Name servers that answer what is no `<service>.internal`, on other machines; workloads reach their
    /// port 53 even where it is denied. Without any, those of the engine (`/etc/resolv.conf`).
    pub dns: Vec<Ipv4Addr>,
}

/// What stays on the node's disk, and how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Garbage {
    /// How many images of a service stay for a quick rollback, while the service is here.
    pub keep_images: usize,
    /// How long images stay after the last instance of their service is gone.
    pub image_grace: domain::quantity::Span,
}

impl Default for Garbage {
    fn default() -> Self {
        Self {
            keep_images: 3,
            image_grace: domain::quantity::Span::seconds(60),
        }
    }
}

/// Traces and log filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where traces go, by OTLP over HTTP.
    pub otlp_endpoint: Option<String>,
    /// As `RUST_LOG`.
    pub log_filter: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error`] when it can't be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// The host ports that instances get.
    #[must_use]
    pub fn host_ports(&self) -> RangeInclusive<u16> {
        self.host_ports.0..=self.host_ports.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
        control_plane = "https://10.96.0.1:8444"
        name = "us-east-1"
        state_dir = "/var/lib/railhead/agent"
        address = "10.96.1.2"
        listen = "10.96.1.2:7444"
        listen_metrics = "10.96.1.2:9101"
        host_ports = [20000, 39999]
        [capacity]
        cpu = 1.0
        memory = "4Gi"
        [docker]
        socket = "/run/docker.sock"
        [network]
        denied = ["10.96.0.0/16"]
    "#;

    #[test]
    fn reads_the_documented_sample() {
        let config: Config = toml::from_str(SAMPLE).unwrap();
        assert_eq!(config.capacity.cpu.0, 1000);
        assert_eq!(config.host_ports(), 20_000..=39_999);
        assert!(config.build.is_none());
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let text = SAMPLE.replace("denied", "denid");
        let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
        assert!(error.contains("denid"), "{error}");
    }
}
