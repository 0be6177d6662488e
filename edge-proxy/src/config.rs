//! The edge's configuration file. Unknown keys are refused, so that a typo is found at start and
//! not in an incident.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use domain::{name::Name, quantity::Span};
use ipnet::IpNet;
use serde::Deserialize;

/// What `--config FILE` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where nodes reach the control plane.
    pub control_plane: String,
    /// What the machine is called, for people.
    pub name: Name,
    /// Identity, feeds and confirmations are kept here.
    pub state_dir: PathBuf,
    /// Used once, when `state_dir` holds no identity.
    #[serde(default)]
    pub join_token_file: Option<PathBuf>,
    /// Plain HTTP for users.
    pub listen_http: SocketAddr,
    /// HTTPS for users.
    pub listen_https: SocketAddr,
    /// mTLS for edges of other regions.
    pub listen_forward: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub listen_metrics: SocketAddr,
    /// Absent: standard output.
    #[serde(default)]
    pub access_log: Option<PathBuf>,
    /// How long requests may still run after SIGTERM.
    #[serde(default = "default_drain")]
    pub drain: Span,
    /// Open connections that one address may have.
    #[serde(default = "default_connections_per_address")]
    pub connections_per_address: usize,
    /// Load balancers in these networks say with the PROXY protocol (v1 or v2) who the client is, at the ports for
    /// users; from anywhere else it is refused.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Traces.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// `[telemetry]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// OTLP over HTTP; absent means no export.
    pub otlp_endpoint: Option<String>,
    /// As in `RUST_LOG`.
    pub log_filter: Option<String>,
}

fn default_drain() -> Span {
    Span::seconds(30)
}

fn default_connections_per_address() -> usize {
    1024
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("reading the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what is expected.
    #[error("the configuration {path} is not valid: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing or not valid; the message names the key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        control_plane = "https://10.96.0.1:8444"
        name = "us-east-1"
        state_dir = "/var/lib/railhead"
        listen_http = "10.96.1.2:80"
        listen_https = "10.96.1.2:443"
        listen_forward = "10.96.1.2:7443"
        listen_metrics = "10.96.1.2:9102"
    "#;

    #[test]
    fn a_minimal_file_gets_defaults_and_an_unknown_key_is_refused() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert_eq!(config.drain, Span::seconds(30));
        let error = toml::from_str::<Config>(&format!("{MINIMAL}\ndrian = 3")).unwrap_err();
        assert!(error.to_string().contains("drian"), "{error}");
    }
}
