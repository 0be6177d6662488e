//! A region's node: its agent and its edge, with configurations as an operator would write them.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    control_plane::fingerprint,
    engine, example,
    plan::{Plan, Region, netns_path, port},
    process::{Process, write_whole},
};

/// Certificates that builds are given: those of the machine, which may stand behind an inspecting proxy.
const EXTRA_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A hanging node process is ended after that long.
const WATCHDOG_SECONDS: u64 = 15;

/// The two kinds of node processes.
pub const ROLES: [&str; 2] = ["agent", "edge"];

/// A node's process of one role, with its configuration written.
pub fn process(plan: &Plan, region: &Region, role: &str, otlp: Option<&str>) -> Result<Process> {
    let mut config = match role {
        "agent" => agent(plan, region)?,
        _ => edge(region),
    };
    config["control_plane"] = json!(plan.node_url());
    config["name"] = json!(region.node());
    config["state_dir"] = json!(region.data(role));
    config["join_token_file"] = json!(join_token_file(plan, region, role));
    if let Some(otlp) = otlp {
        config["telemetry"] = json!({ "otlp_endpoint": otlp });
    }
    let file = plan.config(&format!("{}.toml", region.process(role)));
    write_whole(
        &file,
        &toml::to_string(&config).context("writing a node's configuration")?,
    )?;
    let program = plan.bin(if role == "edge" { "edge-proxy" } else { role });
    let argv = [
        program.display().to_string(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    let mut process = Process::new(&region.process(role), 60, argv)
        .in_netns(&region.netns())
        .with_failpoints(plan)
        .changes_with(&[&program])?;
    process.fingerprint += &fingerprint(&file)?;
    process.watchdog_seconds = Some(WATCHDOG_SECONDS);
    process.stop_timeout_seconds = 40;
    Ok(process)
}

/// The token that a node of that role joins with, once.
pub fn join_token_file(plan: &Plan, region: &Region, role: &str) -> std::path::PathBuf {
    plan.secret_file(&format!("join-{}.token", region.process(role)))
}

fn agent(plan: &Plan, region: &Region) -> Result<Value> {
    let address = region.address();
    let (cpu, memory_mib) = capacity()?;
    Ok(json!({
        "address": address,
        "listen": format!("{address}:{}", port::AGENT),
        "listen_metrics": format!("{address}:{}", port::AGENT_METRICS),
        "host_ports": [20_000, 39_999],
        "capacity": { "cpu": cpu, "memory": format!("{memory_mib}Mi") },
        "docker": { "socket": engine::socket(region, "engine") },
        "network": { "denied": [plan.network(), "169.254.0.0/16"], "dns": [plan.dns()] },
        "build": {
            "socket": engine::socket(region, "build-engine"),
            "netns": netns_path(&region.build_netns()),
            "data_dir": region.data("build-sources"),
            "file_roots": [example::repositories(plan)],
            "extra_ca_file": EXTRA_CAS,
            "registry": plan.registry(),
        },
    }))
}

fn edge(region: &Region) -> Value {
    let address = region.address();
    json!({
        "listen_http": format!("{address}:80"),
        "listen_https": format!("{address}:443"),
        "listen_forward": format!("{address}:{}", port::FORWARD),
        "listen_metrics": format!("{address}:{}", port::EDGE_METRICS),
        "access_log": region.data("edge-access.log"),
        "drain": "30s",
        // Load tests come from one address.
        "connections_per_address": 16_384,
    })
}

/// The node's share of the machine: each of the two regions has half of it, less room for the platform.
fn capacity() -> Result<(f64, u64)> {
    let cpus = std::thread::available_parallelism()
        .context("counting CPUs")?
        .get();
    let memory = super::engine::machine_memory()?;
    #[expect(clippy::cast_precision_loss, reason = "a number of CPUs")]
    Ok((cpus as f64 / 2.0, memory / 3 / (1 << 20)))
}
