//! The control plane: its configuration, its schema, its process, and its operator's commands.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    example,
    plan::{PLATFORM_DOMAIN, Plan, port},
    postgres::{self, Cluster},
    process::Process,
    secrets,
};
use crate::command::{CommandExt as _, command};

/// A hanging process is ended after that long.
pub const WATCHDOG_SECONDS: u64 = 15;

/// Writes the configuration; the same text at every call of the same platform.
pub fn configure(plan: &Plan, cluster: &Cluster, otlp: Option<&str>) -> Result<()> {
    let url = |role, database| postgres::url(plan, cluster, role, database);
    secrets::ensure(plan, "encryption.key")?;
    let mut config = json!({
        "public_url": plan.api_url(),
        "node_url": plan.node_url(),
        "platform_domain": PLATFORM_DOMAIN,
        "listen": format!("{}:{}", plan.host(), port::API),
        "listen_node": format!("{}:{}", plan.host(), port::NODE),
        "listen_metrics": format!("127.0.0.1:{}", plan.metrics_port()),
        "database": {
            "owner_url": url("railhead_owner", "railhead")?,
            "system_url": url("railhead_system", "railhead")?,
            "app_url": url("railhead_app", "railhead")?,
            "logs_url": url("railhead_logs", "railhead_logs")?,
        },
        "keys": { "encryption_key_file": plan.secret_file("encryption.key") },
        "registry": { "host": plan.registry() },
        "build": { "file_roots": [example::repositories(plan)] },
    });
    if let Some(otlp) = otlp {
        config["telemetry"] = json!({ "otlp_endpoint": otlp });
    }
    let text = toml::to_string(&config).context("writing the control plane's configuration")?;
    secrets::write(&config_file(plan), &text)
}

/// Brings the schema up to date and makes the platform's keys.
pub fn migrate(plan: &Plan) -> Result<()> {
    call(plan, &["migrate"])
        .read()
        .context("bringing the schema up to date")
        .map(drop)
}

/// The server.
pub fn process(plan: &Plan) -> Result<Process> {
    let program = plan.bin("control-plane");
    let config = config_file(plan);
    let argv = [
        program.display().to_string(),
        "--config".to_owned(),
        config.display().to_string(),
        "serve".to_owned(),
    ];
    let mut process = Process::new("control-plane", 50, argv).changes_with(&[&program])?;
    process.fingerprint += &fingerprint(&config)?;
    process.watchdog_seconds = Some(WATCHDOG_SECONDS);
    Ok(process)
}

/// An operator's command.
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
        .arg(config_file(plan))
        .args(arguments);
    call
}

fn config_file(plan: &Plan) -> std::path::PathBuf {
    plan.secret_file("control-plane.toml")
}

/// Of a file's content: it is written anew by each `up`, mostly with the same text.
pub fn fingerprint(file: &std::path::Path) -> Result<String> {
    use sha2::Digest as _;
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(format!(" {}", hex::encode(sha2::Sha256::digest(bytes))))
}
