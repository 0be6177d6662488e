//! Everything that a platform starts runs below one cgroup, so that `down` ends exactly that. Works on
//! cgroup v2 and on v1 (hybrid), where builds are limited in each controller's own tree.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::slot::Slot;

const ROOT: &str = "/sys/fs/cgroup";

/// What all builds of a node may take together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Memory, swap not counted.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

const PERIOD_US: u64 = 100_000;

/// Moves a process into the cgroup `path` (from the root), making that first.
pub fn enter(path: &str, pid: i32) -> Result<()> {
    for tree in [Some(tracking_tree()), firewall_tree()]
        .into_iter()
        .flatten()
    {
        let folder = tree.join(path.trim_start_matches('/'));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        write(&folder, "cgroup.procs", &pid.to_string())?;
    }
    Ok(())
}

/// Makes a cgroup with limits; whoever runs below it shares them.
pub fn limit(path: &str, limits: &Limits) -> Result<()> {
    let path = path.trim_start_matches('/');
    let quota = limits.cpu_milli * PERIOD_US / 1000;
    if is_v2() {
        let folder = Path::new(ROOT).join(path);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        delegate(path)?;
        write(&folder, "memory.max", &limits.memory_bytes.to_string())?;
        write(&folder, "pids.max", &limits.pids.to_string())?;
        return write(&folder, "cpu.max", &format!("{quota} {PERIOD_US}"));
    }
    let settings = [
        ("memory", "memory.limit_in_bytes", limits.memory_bytes),
        ("pids", "pids.max", limits.pids),
        ("cpu", "cpu.cfs_period_us", PERIOD_US),
        ("cpu", "cpu.cfs_quota_us", quota),
    ];
    for (controller, file, value) in settings {
        let folder = Path::new(ROOT).join(controller).join(path);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        write(&folder, file, &value.to_string())?;
    }
    Ok(())
}

/// Ids of all processes that the platform in `slot` started and that still run.
pub fn members(slot: Slot) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for folder in subtree(&tracking_tree().join(slot.cgroup()))? {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    Ok(pids)
}

/// Removes the platform's cgroups, which must be empty.
pub fn remove(slot: Slot) -> Result<()> {
    for tree in trees()? {
        for folder in subtree(&tree.join(slot.cgroup()))?.into_iter().rev() {
            fs::remove_dir(&folder)
                .with_context(|| format!("removing cgroup {}", folder.display()))?;
        }
    }
    Ok(())
}

fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The tree that shows where every process belongs.
fn tracking_tree() -> PathBuf {
    if is_v2() {
        ROOT.into()
    } else {
        Path::new(ROOT).join("pids")
    }
}

/// The tree beside it (hybrid) that firewall rules can tell one process's packets from another's by.
fn firewall_tree() -> Option<PathBuf> {
    let unified = Path::new(ROOT).join("unified");
    (!is_v2() && unified.join("cgroup.procs").exists()).then_some(unified)
}

fn trees() -> Result<Vec<PathBuf>> {
    if is_v2() {
        return Ok(vec![ROOT.into()]);
    }
    let entries = fs::read_dir(ROOT).with_context(|| format!("reading {ROOT}"))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Lets the children of every folder above `path` use the controllers (v2 asks for it level by level).
fn delegate(path: &str) -> Result<()> {
    let parents: Vec<_> = Path::new(path).ancestors().skip(1).collect();
    for parent in parents.into_iter().rev() {
        write(
            &Path::new(ROOT).join(parent),
            "cgroup.subtree_control",
            "+cpu +memory +pids",
        )?;
    }
    Ok(())
}

fn write(folder: &Path, file: &str, value: &str) -> Result<()> {
    let path = folder.join(file);
    fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
}

/// The folder and all below it, parents first; nothing when it is not there.
fn subtree(top: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("reading {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
        found.push(folder);
    }
    Ok(found)
}
