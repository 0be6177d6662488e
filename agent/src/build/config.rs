//! The `[build]` table of `agent.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use domain::quantity::{Bytes, Span};

/// The node's build engine and the limits of builds. Without this table a node builds nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Unix socket of the build engine: a second `dockerd` with limits of its own.
    pub socket: PathBuf,
    /// The network namespace of that engine, whose firewall says what builds may reach. Sources
    /// are fetched in it.
    pub netns: PathBuf,
    /// Records, known hosts and sources in hand. `fetch_uid` must be able to reach it.
    pub data_dir: PathBuf,
    /// The platform's registry, `host:port`.
    pub registry: String,
    /// `file://` repositories are allowed below these folders only.
    #[serde(default)]
    pub file_roots: Vec<PathBuf>,
    /// Extra CA certificates (PEM) for companies behind an inspecting proxy: used to fetch
    /// sources, and mounted as secret `ca` in builds.
    #[serde(default)]
    pub extra_ca_file: Option<PathBuf>,
    /// Runs `git`; owns nothing else. `nobody` when not set.
    #[serde(default = "nobody")]
    pub fetch_uid: u32,
    /// A larger source is refused.
    #[serde(default = "max_source")]
    pub max_source: Bytes,
    /// Images and cache of the build engine are cleaned down to this.
    #[serde(default = "disk_budget")]
    pub disk_budget: Bytes,
    /// A step of a build waits so long in all for a build engine, registry or control plane that is away.
    #[serde(default = "patience")]
    pub patience: Span,
}

const fn nobody() -> u32 {
    65_534
}

const fn max_source() -> Bytes {
    Bytes::mebibytes(1024)
}

const fn disk_budget() -> Bytes {
    Bytes::mebibytes(10 * 1024)
}

const fn patience() -> Span {
    Span::seconds(75)
}
