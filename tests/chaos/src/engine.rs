//! What the regions' engines have, past every other part of the platform.

use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::command::succeed;
use serde_json::Value;
use tokio::process::Command;

/// What an engine answers to a GET.
pub async fn get(socket: &Path, path: &str) -> Result<Vec<Value>> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10"])
        .arg("--unix-socket")
        .arg(socket)
        .arg(format!("http://engine{path}"));
    let said = succeed(&mut curl).await?;
    serde_json::from_str(&said.stdout)
        .with_context(|| format!("reading what {} answers", socket.display()))
}
