//! What a deleted project has left on the regions' engines, asked of the engines themselves.

use std::path::Path;

use anyhow::Result;
use domain::id::{EnvironmentId, ServiceId};
use serde_json::Value;
use tokio::process::Command;

use crate::command::succeed;

use super::Platform;

impl Platform {
    /// Containers, networks and images of a service and its environment that engines still have.
    pub async fn leftovers(
        &self,
        environment: EnvironmentId,
        service: ServiceId,
    ) -> Result<Vec<String>> {
        let (environment, service) = (environment.to_string(), service.to_string());
        let mut left = Vec::new();
        for (region, seen) in &self.status.regions {
            for path in ["containers/json?all=1", "networks", "images/json"] {
                let all = ask(&seen.docker_socket, path).await?;
                let ours = all.iter().map(Value::to_string);
                let ours = ours.filter(|one| one.contains(&service) || one.contains(&environment));
                left.extend(ours.map(|one| format!("{region}: {path}: {one}")));
            }
        }
        Ok(left)
    }
}

async fn ask(socket: &Path, path: &str) -> Result<Vec<Value>> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--unix-socket"])
        .arg(socket)
        .arg(format!("http://engine/{path}"));
    Ok(serde_json::from_str(&succeed(&mut curl).await?.stdout)?)
}
