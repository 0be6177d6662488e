//! The edge's configuration file. Unknown keys are refused, so that a typo is found at start and
//! not in an incident.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use domain::{name::Name, quantity::Span};
use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

use crate::geo::DATABASES_MAX;

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
    /// Rate limits of edge rules.
    #[serde(default)]
    pub limit: Limit,
    /// Where addresses are.
    #[serde(default)]
    pub geo: Geo,
    /// Traces.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// `[limit]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limit {
    /// `redis://…` or `unix://…`, the same for all edges, which then count together; may hold a password. Absent: each
    /// edge lets its share of a limit through.
    pub redis: Option<SecretString>,
    /// A file that says the same, in the place of it.
    pub redis_file: Option<PathBuf>,
}

/// `[geo]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Geo {
    /// Files in MaxMind's format, with countries, with networks, or with both; at most four. They are read again when they
    /// change. Empty: nothing is known of addresses.
    pub databases: Vec<PathBuf>,
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
    /// The file says what can't be.
    #[error("the configuration {path} can't be: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would do.
        reason: String,
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
        let mut config: Self = toml::from_str(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check().map_err(|reason| Error::Value {
            path: path.to_owned(),
            reason,
        })?;
        if let Some(file) = &config.limit.redis_file {
            config.limit.redis = Some(secret_of(file)?);
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.geo.databases.len() > DATABASES_MAX {
            return Err(format!("geo.databases has more than {DATABASES_MAX} files"));
        }
        if self.limit.redis.is_some() && self.limit.redis_file.is_some() {
            return Err("limit has both redis and redis_file: leave one out".to_owned());
        }
        Ok(())
    }
}

fn secret_of(file: &Path) -> Result<SecretString, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Read {
        path: file.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned().into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

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

    #[test]
    fn a_redis_and_databases_of_places_are_read() {
        let text = format!(
            "{MINIMAL}\n[limit]\nredis = \"redis://:secret@10.0.0.5\"\n[geo]\ndatabases = [\"/a.mmdb\", \"/b.mmdb\"]"
        );
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!(config.geo.databases.len(), 2);
        assert!(!format!("{config:?}").contains("secret"));
        let too_many = Geo {
            databases: vec![PathBuf::from("/a.mmdb"); DATABASES_MAX + 1],
        };
        let config = Config {
            geo: too_many,
            ..config
        };
        assert!(config.check().is_err());
    }

    #[test]
    fn the_address_of_redis_may_stand_in_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("edge.toml"), dir.path().join("secret"));
        std::fs::write(&secret, "redis://:secret@10.0.0.5\n").unwrap();
        let text = format!("{MINIMAL}\n[limit]\nredis_file = {secret:?}\n");
        std::fs::write(&file, &text).unwrap();
        let config = Config::read(&file).unwrap();
        let redis = config.limit.redis.unwrap();
        assert_eq!(redis.expose_secret(), "redis://:secret@10.0.0.5");
        std::fs::write(&file, format!("{text}redis = \"redis://x\"\n")).unwrap();
        let error = Config::read(&file).unwrap_err().to_string();
        assert!(error.contains("redis_file"), "{error}");
        std::fs::remove_file(secret).unwrap();
        std::fs::write(&file, text).unwrap();
        let error = Config::read(&file).unwrap_err().to_string();
        assert!(error.contains("secret"), "{error}");
    }
}
