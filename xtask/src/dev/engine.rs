//! Docker Engines: one per region for its workloads, and one per node for builds, in a namespace, on a
//! disk and in a cgroup of its own (BuildKit ignores Docker's per-build limits: docs/adr).

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    cgroup::{self, Limits},
    mounts,
    plan::{Plan, Region},
    process::{Process, write_whole},
};
use crate::command::{CommandExt as _, command};

/// Certificates of a Debian or Ubuntu system.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What all builds of a node may take together.
const BUILD_PIDS: u64 = 4096;
const BUILD_MEMORY_MAX: u64 = 4 << 30;

/// The engine of a region's workloads. Containers outlive it (`live-restore`).
pub fn workloads(plan: &Plan, region: &Region) -> Result<Process> {
    let engine = Engine {
        name: "engine",
        netns: region.netns(),
        data: region.data("docker"),
        bridge: region.bridge(),
        pool: region.pool(),
        cgroup: region.cgroup("docker"),
    };
    let mut process = engine.process(plan, region)?;
    process.argv.push("--live-restore".to_owned());
    Ok(process)
}

/// The engine of a node's builds.
pub fn builds(plan: &Plan, region: &Region) -> Result<Process> {
    mounts::ensure_build_disk(region)?;
    cgroup::limit(&region.cgroup("build"), &build_limits()?)?;
    let engine = Engine {
        name: "build-engine",
        netns: region.build_netns(),
        data: region.run("build-disk").join("docker"),
        bridge: region.build_bridge(),
        pool: region.build_bridge(),
        cgroup: region.cgroup("build"),
    };
    let mut process = engine.process(plan, region)?;
    process
        .argv
        .extend(["--dns".to_owned(), plan.dns().to_string()]);
    Ok(process)
}

/// The socket of a region's `engine` or `build-engine`.
pub fn socket(region: &Region, name: &str) -> PathBuf {
    region.run(&format!("{name}.sock"))
}

/// The engine's own API: Debian 13 has the `docker` program in a package of its own.
const ENGINE_API: &str = "http://engine/containers";

/// Stops a region's containers, so that their data is whole and the next start finds them.
pub fn stop_containers(region: &Region) -> Result<()> {
    let socket = socket(region, "engine");
    if !socket.exists() {
        return Ok(());
    }
    let curl = || {
        let mut curl = command([
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--unix-socket",
        ]);
        curl.arg(&socket);
        curl
    };
    let listed = curl().arg(format!("{ENGINE_API}/json")).read()?;
    let running: Vec<Value> = serde_json::from_str(&listed).context("reading the engine's list")?;
    if running.is_empty() {
        return Ok(());
    }
    let stops = running
        .iter()
        .filter_map(|container| container["Id"].as_str())
        .map(|id| format!("{ENGINE_API}/{id}/stop?t=5"));
    curl()
        .args(["--parallel", "--request", "POST"])
        .args(stops)
        .read()
        .map(drop)
}

/// The system's CAs and the platform's own: what engines trust.
pub fn write_ca_bundle(plan: &Plan, platform_ca: &str) -> Result<()> {
    let system = fs::read_to_string(SYSTEM_CAS).with_context(|| format!("reading {SYSTEM_CAS}"))?;
    write_whole(&plan.ca_bundle(), &format!("{system}\n{platform_ca}"))
}

struct Engine {
    name: &'static str,
    netns: String,
    data: PathBuf,
    bridge: String,
    pool: String,
    cgroup: String,
}

impl Engine {
    fn process(&self, plan: &Plan, region: &Region) -> Result<Process> {
        let exec_root = region.run(&format!("{}-exec", self.name));
        // An empty configuration file: the machine's own daemon.json is not for these engines.
        let config = region.run(&format!("{}.json", self.name));
        write_whole(&config, "{}\n")?;
        let path = |path: PathBuf| path.display().to_string();
        let options = [
            ("--config-file", path(config)),
            (
                "--host",
                format!("unix://{}", socket(region, self.name).display()),
            ),
            ("--data-root", path(self.data.clone())),
            ("--exec-root", path(exec_root.clone())),
            ("--pidfile", path(region.run(&format!("{}.pid", self.name)))),
            (
                "--containerd-namespace",
                plan.slot.name(&region.process(self.name)),
            ),
            (
                "--containerd-plugins-namespace",
                plan.slot.name(&region.process(self.name)) + "-plugins",
            ),
            ("--bip", self.bridge.clone()),
            (
                "--default-address-pool",
                format!("base={},size=26", self.pool),
            ),
            ("--cgroup-parent", self.cgroup.clone()),
            ("--exec-opt", "native.cgroupdriver=cgroupfs".to_owned()),
            ("--registry-mirror", format!("https://{}", plan.registry())),
            ("--userland-proxy", "false".to_owned()),
            ("--log-level", "warn".to_owned()),
        ];
        // Repairs what a kill may have left and becomes the engine, as on real nodes (docs/adr/0041, 0047).
        let mut argv = vec![
            path(plan.bin("agent")),
            "start-engine".to_owned(),
            "--data-root".to_owned(),
            path(self.data.clone()),
            "--containerd-state".to_owned(),
            path(exec_root.join("containerd/daemon")),
            "--".to_owned(),
            "dockerd".to_owned(),
        ];
        argv.extend(
            options
                .into_iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        let mut process = Process::new(&region.process(self.name), 40, argv)
            .env("SSL_CERT_FILE", plan.ca_bundle().display().to_string())
            .in_netns(&self.netns)
            .changes_with(&[&plan.ca_bundle()])?;
        process.stop_timeout_seconds = 20;
        // A killed engine takes its containerd with it. One that starts before init has taken note of that (some look
        // every two seconds) takes it for alive and waits 15 s for an answer.
        process.restart_delay_ms = 2_500;
        Ok(process)
    }
}

/// Half of the machine's CPUs and at most a quarter of its memory: builds never take the host down.
fn build_limits() -> Result<Limits> {
    let cpus = std::thread::available_parallelism()
        .context("counting CPUs")?
        .get() as u64;
    Ok(Limits {
        cpu_milli: (cpus * 500).max(1000),
        memory_bytes: (machine_memory()? / 4).min(BUILD_MEMORY_MAX),
        pids: BUILD_PIDS,
    })
}

/// The machine's memory in bytes.
pub fn machine_memory() -> Result<u64> {
    let info = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let total_kib: u64 = info
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .context("no MemTotal in /proc/meminfo")?;
    Ok(total_kib * 1024)
}
