//! The control plane's replicas: their configurations, their schema, their processes, and the operator's
//! commands.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    authority, example,
    plan::{PLATFORM_DOMAIN, Plan, Replica, port},
    postgres::{self, Cluster},
    process::Process,
    redis, secrets,
};
use crate::command::{CommandExt as _, command};

/// A hanging control plane is ended after that long. Nobody waits: the balancer leaves it much sooner.
const WATCHDOG_SECONDS: u64 = 60;
/// From where the balancer connects to what is on loopback.
const BALANCER: &str = "127.0.0.1/32";

/// Writes every replica's configuration; the same text at every call of the same platform.
pub fn configure(plan: &Plan, cluster: &Cluster, otlp: Option<&str>) -> Result<()> {
    secrets::ensure(plan, "encryption.key")?;
    for replica in plan.replicas() {
        let config = configuration(plan, &replica, cluster, otlp)?;
        let text = toml::to_string(&config).context("writing a control plane's configuration")?;
        secrets::write(&config_file(plan, &replica), &text)?;
    }
    Ok(())
}

fn configuration(
    plan: &Plan,
    replica: &Replica,
    cluster: &Cluster,
    otlp: Option<&str>,
) -> Result<Value> {
    let listen = |number| format!("{}:{number}", replica.address());
    let url = |role, database| postgres::url(plan, cluster, role, database);
    let mut config = json!({
        "public_url": plan.api_url(),
        "node_url": plan.node_url(),
        "platform_domain": PLATFORM_DOMAIN,
        "listen": listen(port::API),
        "listen_node": listen(port::NODE),
        "listen_metrics": listen(port::METRICS),
        "trusted_proxies": [BALANCER],
        "database": {
            "owner_url": url("railhead_owner", "railhead")?,
            "system_url": url("railhead_system", "railhead")?,
            "app_url": url("railhead_app", "railhead")?,
            "logs_url": url("railhead_logs", "railhead_logs")?,
        },
        "keys": { "encryption_key_file": plan.secret_file("encryption.key") },
        "redis": { "url": format!("unix://{}", redis::socket(plan).display()) },
        "registry": { "host": plan.registry() },
        "build": { "file_roots": [example::repositories(plan)] },
        "dns": { "resolvers": [format!("{}:{}", plan.host(), port::DNS)] },
        "certificates": { "authorities": [authority::configuration(plan)] },
    });
    if let Some(otlp) = otlp {
        config["telemetry"] = json!({ "otlp_endpoint": otlp });
    }
    Ok(config)
}

/// Brings the schema up to date and makes the platform's keys.
pub fn migrate(plan: &Plan) -> Result<()> {
    call(plan, &["migrate"])
        .read()
        .context("bringing the schema up to date")
        .map(drop)
}

/// A replica's server.
pub fn process(plan: &Plan, replica: &Replica) -> Result<Process> {
    let program = plan.bin("control-plane");
    let config = config_file(plan, replica);
    let argv = [
        program.display().to_string(),
        "--config".to_owned(),
        config.display().to_string(),
        "serve".to_owned(),
    ];
    let mut process = Process::new(&replica.name(), 50, argv)
        .with_failpoints(plan)
        .changes_with(&[&program])?;
    process.fingerprint += &fingerprint(&config)?;
    process.watchdog_seconds = Some(WATCHDOG_SECONDS);
    Ok(process)
}

/// An operator's command; which replica's configuration it reads does not matter.
pub fn admin(plan: &Plan, arguments: &[&str]) -> Command {
    let mut admin = call(plan, &["admin"]);
    admin.args(arguments);
    admin
}

fn call(plan: &Plan, arguments: &[&str]) -> Command {
    let mut call = command([plan.bin("control-plane")]);
    // What it says is for people; a backtrace of its main is not.
    call.env("RUST_BACKTRACE", "0")
        .arg("--config")
        .arg(config_file(plan, &plan.first_replica()))
        .args(arguments);
    call
}

fn config_file(plan: &Plan, replica: &Replica) -> PathBuf {
    plan.secret_file(&format!("{}.toml", replica.name()))
}

/// Of a file's content: it is written anew by each `up`, mostly with the same text.
pub fn fingerprint(file: &std::path::Path) -> Result<String> {
    use sha2::Digest as _;
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(format!(" {}", hex::encode(sha2::Sha256::digest(bytes))))
}
