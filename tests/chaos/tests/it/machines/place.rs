//! Where a process keeps what it writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use e2e::platform::Platform;

/// A process's own.
pub struct Place {
    pub folder: PathBuf,
    pub program: Program,
}

/// Whose program writes there, for that says what can be done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A control plane keeps nothing but its log.
    ControlPlane,
    /// An agent or an edge.
    Node,
    /// Somebody else's.
    Foreign,
    /// Somebody else's, on a disk of its own anyway.
    FixedDisk,
}

impl Place {
    pub fn of(platform: &Platform, name: &str) -> Result<Self> {
        let data = platform.data()?;
        let (folder, program) = if name.starts_with("control-plane") {
            (data.join(name), Program::ControlPlane)
        } else if name.ends_with("-agent") || name.ends_with("-edge") {
            (setting(&data, name, "state_dir")?, Program::Node)
        } else if let Some(region) = name.strip_suffix("-build-engine") {
            (platform.build_disk(region)?, Program::FixedDisk)
        } else if let Some(region) = name.strip_suffix("-engine") {
            // What it keeps of each container. Images and roots stay: running containers have them open.
            let containers = data.join(region).join("docker/containers");
            (containers, Program::Foreign)
        } else {
            (data.join(name), Program::Foreign)
        };
        Ok(Self { folder, program })
    }

    /// That are elsewhere, if they are.
    pub fn logs(&self, platform: &Platform, name: &str) -> Result<Vec<PathBuf>> {
        if !self.program.is_ours() {
            return Ok(Vec::new());
        }
        let data = platform.data()?;
        let own = data.join("log").join(format!("{name}.log"));
        let access = setting(&data, name, "access_log").ok();
        Ok([Some(own), access].into_iter().flatten().collect())
    }
}

impl Program {
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::ControlPlane | Self::Node)
    }
}

fn setting(data: &Path, name: &str, key: &str) -> Result<PathBuf> {
    let file = data.join("config").join(format!("{name}.toml"));
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let config: toml::Table = text.parse()?;
    match config.get(key).and_then(toml::Value::as_str) {
        Some(path) => Ok(path.into()),
        None => bail!("{} names no {key}", file.display()),
    }
}
