//! The configuration file: TOML, unknown keys refused, secrets in files of their own. Everything
//! that can be wrong with it is found at the start, by `check-config` too.

mod certificates;
mod database;
pub mod dns;

pub use certificates::{Authority, Certificates};
pub use database::{Database, STATEMENT_TIMEOUT};
pub use dns::Dns;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use domain::quantity::{Bytes, Span};

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("can't read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no configuration.
    #[error("the configuration file {path} is not valid: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value can't be.
    #[error("the configuration file {path} is not valid: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which, and what would do.
        reason: String,
    },
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where users reach the API.
    pub public_url: Url,
    /// Where nodes reach the node API.
    pub node_url: Url,
    /// Default hostnames end in it; it is also the trust domain of node certificates.
    pub platform_domain: String,
    /// `/v1`, over TLS.
    pub listen: SocketAddr,
    /// `/node/v1`, over HTTP/2 and mTLS.
    pub listen_node: SocketAddr,
    /// `/metrics`, `/healthz` and `/readyz`, over plain HTTP: not for the internet.
    pub listen_metrics: SocketAddr,
    /// A replica that was told to end still answers for that long, while `/readyz` already says no: at least as
    /// long as the load balancer takes to notice.
    #[serde(default = "default_shutdown_delay")]
    pub shutdown_delay: Span,
    /// Load balancers in front of both listeners, as networks. They must send the PROXY protocol; nobody
    /// else's header is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Where PostgreSQL is, once per role.
    pub database: Database,
    /// Where the keys are.
    pub keys: Keys,
    /// The image registry.
    pub registry: Registry,
    /// Builds.
    #[serde(default)]
    pub build: Build,
    /// What one client may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where replicas count together; without it each counts alone.
    pub redis: Option<Redis>,
    /// Nodes.
    #[serde(default)]
    pub node: Node,
    /// Changes that the platform makes by itself.
    #[serde(default)]
    pub rollout: Rollout,
    /// Log lines of builds and instances.
    #[serde(default)]
    pub logs: Logs,
    /// The domain name system.
    #[serde(default)]
    pub dns: Dns,
    /// Certificates of tenants' own hostnames.
    #[serde(default)]
    pub certificates: Certificates,
    /// Where traces go.
    #[serde(default)]
    pub telemetry: Telemetry,
}

const fn default_shutdown_delay() -> Span {
    Span::milliseconds(1_500)
}

/// Where the keys are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The key-encryption key: 32 bytes, hexadecimal.
    pub encryption_key_file: PathBuf,
}

/// The image registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// `host:port`, as in image names.
    pub host: String,
}

/// Builds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// `file://` repositories are allowed below these folders of the build nodes only.
    pub file_roots: Vec<PathBuf>,
}

/// Where replicas count together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://…` or `unix://…`; may hold a password.
    pub url: SecretString,
}

/// What one client may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Reading requests per token and minute. An address may make ten times as many.
    pub reads_per_minute: u32,
    /// Other requests per token and minute. An address may make ten times as many.
    pub writes_per_minute: u32,
    /// Attempts to sign in per address and minute.
    pub logins_per_minute: u32,
    /// Largest JSON body.
    pub body: Bytes,
    /// Largest archive of a working tree.
    pub archive: Bytes,
    /// A session ends after this long.
    pub session: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reads_per_minute: 1_000,
            writes_per_minute: 100,
            logins_per_minute: 10,
            body: Bytes::mebibytes(1),
            archive: Bytes::mebibytes(256),
            session: Span::seconds(12 * 3600),
        }
    }
}

/// Nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Between two reports of a node.
    pub report_interval: Span,
    /// A node is late after at least this much silence.
    pub late_after: Span,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            report_interval: Span::seconds(5),
            late_after: Span::seconds(45),
        }
    }
}

/// Changes that the platform makes by itself reach edges ring by ring.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// So long the edges of a ring serve well before the next ring's turn.
    pub soak: Span,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            soak: Span::seconds(600),
        }
    }
}

/// Log lines of builds and instances.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Disk of the log database; beyond it the oldest lines go.
    pub budget: Bytes,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            budget: Bytes::mebibytes(10 * 1024),
        }
    }
}

/// Where traces go.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// OTLP over HTTP.
    pub otlp_endpoint: Option<String>,
    /// As `RUST_LOG`.
    pub log_filter: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it can't be read or says something that can't be.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check().map_err(|reason| Error::Value {
            path: path.to_owned(),
            reason,
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (key, url) in [
            ("public_url", &self.public_url),
            ("node_url", &self.node_url),
        ] {
            if url.scheme() != "https" || url.host().is_none() {
                return Err(format!("{key} must be an https:// address, not {url}"));
            }
        }
        if !is_domain(&self.platform_domain) {
            return Err(format!(
                "platform_domain must be a lower-case DNS name such as apps.example.com, not \"{}\"",
                self.platform_domain
            ));
        }
        let limits = &self.limits;
        if limits.reads_per_minute == 0
            || limits.writes_per_minute == 0
            || limits.logins_per_minute == 0
        {
            return Err("limits.*_per_minute must be at least 1".to_owned());
        }
        self.dns.check(&self.platform_domain)?;
        self.certificates.check()?;
        self.database.check()
    }
}

fn is_domain(text: &str) -> bool {
    text.len() <= 200
        && text.contains('.')
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

/// Whether a name is this domain or below it.
pub(crate) fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        public_url = "https://127.0.0.1:8443"
        node_url = "https://127.0.0.1:8444"
        platform_domain = "railhead.test"
        listen = "127.0.0.1:8443"
        listen_node = "127.0.0.1:8444"
        listen_metrics = "127.0.0.1:8445"
        [database]
        owner_url = "postgres://o@localhost/r"
        system_url = "postgres://s@localhost/r"
        app_url = "postgres://a@localhost/r"
        logs_url = "postgres://l@localhost/l"
        [keys]
        encryption_key_file = "/etc/railhead/kek"
        [registry]
        host = "127.0.0.1:5000"
    "#;

    fn load(text: &str) -> Result<Config, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path())
    }

    #[test]
    fn a_small_file_has_the_documented_defaults() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.limits.reads_per_minute, 1_000);
        assert_eq!(config.limits.writes_per_minute, 100);
        assert_eq!(config.limits.logins_per_minute, 10);
        assert_eq!(config.node.report_interval, Span::seconds(5));
        assert_eq!(config.shutdown_delay, Span::milliseconds(1_500));
    }

    #[test]
    fn what_can_not_be_is_refused_with_the_key_that_says_it() {
        for (bad, key) in [
            (
                GOOD.replace("listen_metrics", "listen_metric"),
                "listen_metric",
            ),
            (
                GOOD.replace("https://127.0.0.1:8443", "http://127.0.0.1:8443"),
                "public_url",
            ),
            (GOOD.replace("railhead.test", "Railhead"), "platform_domain"),
            (
                format!("{GOOD}\n[limits]\nlogins_per_minute = 0"),
                "per_minute",
            ),
            (
                format!("trusted_proxies = [\"everybody\"]\n{GOOD}"),
                "trusted_proxies",
            ),
        ] {
            let error = load(&bad).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_domain_has_itself_and_what_is_below_it() {
        for (name, within) in [
            ("apps.example.com", true),
            ("*.apps.example.com", true),
            ("a.b.apps.example.com", true),
            ("myapps.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(is_within(name, "apps.example.com"), within, "{name}");
        }
    }

    #[test]
    fn passwords_of_the_database_are_not_in_the_debug_text() {
        let config = load(&GOOD.replace("postgres://s@", "postgres://s:hunter2@")).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
