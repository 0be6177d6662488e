//! What a machine must have before anything is planned for it.

use std::path::{Path, PathBuf};

use super::{
    error::{Error, Result},
    options::Options,
    platform::Wanted,
    system,
};

/// Programs of an agent, and Debian's and Ubuntu's packages of them.
const OF_AGENT: [(&str, &str); 10] = [
    ("dockerd", "docker.io"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables-restore", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("mkfs.ext4", "e2fsprogs"),
];
/// Of one that builds.
const OF_BUILDS: [(&str, &str); 2] = [("git", "git"), ("ssh", "openssh-client")];
const OF_ALL: [(&str, &str); 2] = [("ip", "iproute2"), ("systemd-sysusers", "systemd")];

/// Refuses a machine that can't be a node, or can't be made one by this user.
pub fn check(wanted: &Wanted, options: &Options) -> Result {
    if !Path::new("/run/systemd/system").exists() {
        return Err(Error::NoSystemd);
    }
    if !options.dry_run && !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let missing = missing(wanted, options);
    if missing.is_empty() {
        return Ok(());
    }
    let (programs, packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    let packages = unique(packages);
    if options.install_packages && !options.dry_run {
        return install(&packages);
    }
    Err(Error::Missing { programs, packages })
}

/// The folder that our programs come from.
pub fn binaries(wanted: &Wanted, options: &Options) -> Result<PathBuf> {
    let folder = match &options.binaries {
        Some(folder) => std::path::absolute(folder).map_err(Error::file("find", folder))?,
        None => beside_railhead()?,
    };
    for name in wanted.programs() {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(Error::NoBinary(path));
        }
    }
    Ok(folder)
}

fn beside_railhead() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::file("find", "railhead itself"))?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Containers of an engine that is not ours would lose their network to it.
pub fn check_docker() -> Result {
    if !system::succeeds("systemctl", &["is-active", "docker.service"]) {
        return Ok(());
    }
    let running = system::run("ctr", &["--namespace", "moby", "tasks", "list", "--quiet"])?;
    match running.lines().count() {
        0 => Ok(()),
        containers => Err(Error::DockerInUse { containers }),
    }
}

fn missing(wanted: &Wanted, options: &Options) -> Vec<(&'static str, &'static str)> {
    let mut needed = OF_ALL.to_vec();
    if wanted.has_agent() {
        needed.extend(OF_AGENT);
        if !options.no_build {
            needed.extend(OF_BUILDS);
        }
    }
    needed.retain(|(program, _)| !system::has(program));
    needed
}

fn unique(mut packages: Vec<&'static str>) -> Vec<&'static str> {
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result {
    system::run("apt-get", &["update", "--quiet"])?;
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(packages);
    system::run("apt-get", &arguments).map(drop)
}
