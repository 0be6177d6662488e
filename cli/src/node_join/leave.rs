//! `railhead node leave`: takes away what `node join` has made, containers first. What the platform knows of the
//! node is not touched: `railhead node remove` expels it.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    error::{Error, Result},
    paths, plan, system,
};
use crate::{confirm, output::Output};

const WORKLOADS: &str = "railhead_workloads.slice";
/// What a container gets to end by itself, after SIGTERM; its process 1 may ignore that.
const GRACE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// In the order in which they are stopped: first what starts containers, then those, then engines.
const STOPPED: [&str; 8] = [
    plan::AGENT,
    plan::EDGE,
    WORKLOADS,
    plan::ENGINE,
    plan::BUILD_ENGINE,
    "railhead_build.slice",
    plan::BUILD_NETWORK,
    plan::BUILD_DISK,
];
const FILES: [&str; 5] = [
    paths::STATE,
    paths::CONFIG,
    paths::PROGRAMS,
    paths::SYSUSERS,
    "/var/log/railhead",
];

/// Asks, and takes it away.
pub fn leave(output: Output) -> crate::error::Result {
    let config = Path::new(paths::CONFIG);
    if !config.exists() {
        return Err(Error::NoNode(config.to_owned()).into());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot.into());
    }
    confirm::destruction(
        output,
        "take the node off",
        "this-machine",
        "its containers are ended, and its volumes, keys and configuration removed",
    )?;
    let units = installed_units()?;
    for unit in STOPPED
        .iter()
        .filter(|unit| units.iter().any(|found| found == *unit))
    {
        output.note(&format!("  stopping {unit}"))?;
        if *unit == WORKLOADS {
            end_containers()?;
        }
        system::run("systemctl", &["stop", unit])?;
    }
    unmount()?;
    remove(&units)?;
    output.done("this machine is no node any more")?;
    output.note("next, where you are signed in: railhead node remove NAME")?;
    output.record_if_json(&json!({ "removed": units }))
}

/// Our units that lie where `join` puts them.
fn installed_units() -> Result<Vec<String>> {
    let entries = fs::read_dir(paths::UNITS).map_err(Error::file("read", paths::UNITS))?;
    let mut units = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(Error::file("read", paths::UNITS))?
            .file_name();
        let name = name.to_string_lossy();
        if name.starts_with("railhead") || *name == *plan::BUILD_DISK {
            units.push(name.into_owned());
        }
    }
    units.sort_unstable();
    Ok(units)
}

/// By containerd, which knows them also when the engine is gone.
fn end_containers() -> Result {
    for signal in ["SIGTERM", "SIGKILL"] {
        for container in containers()? {
            // One that has ended meanwhile can't be signalled.
            system::succeeds("ctr", &of_engine(&["kill", "--signal", signal, &container]));
        }
        let deadline = Instant::now() + GRACE;
        while !containers()?.is_empty() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

fn containers() -> Result<Vec<String>> {
    if !system::succeeds("systemctl", &["is-active", "--quiet", "containerd"]) {
        return Ok(Vec::new());
    }
    let listed = system::run("ctr", &of_engine(&["list", "--quiet"]))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn of_engine<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["--namespace", "railhead-engine", "tasks"], words].concat()
}

/// What engines leave mounted for containers that were to outlive them, the last mounted first. Lazily:
/// nothing of the node runs any more, and whoever looks into it is no reason to fail.
fn unmount() -> Result {
    let table = "/proc/self/mountinfo";
    let table = fs::read_to_string(table).map_err(Error::file("read", table))?;
    let targets = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4));
    let below = format!("{}/", paths::STATE);
    let mut targets: Vec<&str> = targets
        .filter(|target| target.starts_with(&below))
        .collect();
    targets.reverse();
    for target in targets {
        system::run("umount", &["--lazy", target])?;
    }
    Ok(())
}

fn remove(units: &[String]) -> Result {
    for unit in units.iter().filter(|unit| !unit.ends_with(".d")) {
        system::run("systemctl", &["disable", "--quiet", unit])?;
    }
    let units = units.iter().map(|unit| Path::new(paths::UNITS).join(unit));
    for path in units.chain(FILES.iter().map(Into::into)) {
        remove_path(&path)?;
    }
    system::run("systemctl", &["daemon-reload"]).map(drop)
}

fn remove_path(path: &Path) -> Result {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
