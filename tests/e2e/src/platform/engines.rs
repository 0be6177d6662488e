//! What the regions' engines and networks say, past the control plane.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use domain::id::ServiceId;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::command::succeed;

use super::{Platform, text};

impl Platform {
    /// The addresses of a service's containers on their private networks, from the engines.
    pub async fn container_addresses(&self, service: ServiceId) -> Result<Vec<String>> {
        let mut addresses = Vec::new();
        for region in self.status.regions.values() {
            let containers = self.containers(&region.docker_socket, service).await?;
            let networks = containers
                .iter()
                .filter_map(|container| container["NetworkSettings"]["Networks"].as_object());
            addresses.extend(
                networks
                    .flat_map(|all| all.values())
                    .filter_map(|network| network["IPAddress"].as_str().map(str::to_owned)),
            );
        }
        Ok(addresses)
    }

    /// The variables that a service's container in one region was started with.
    pub async fn environment(
        &self,
        region: &str,
        service: ServiceId,
    ) -> Result<BTreeMap<String, String>> {
        let socket = &self.status.regions[region].docker_socket;
        let containers = self.containers(socket, service).await?;
        let newest = containers.iter().max_by_key(|c| c["Created"].as_i64());
        let id = text(newest.context("no container")?, "Id")?;
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://engine/containers/{id}/json"));
        let found: Value = serde_json::from_str(&succeed(&mut curl).await?.stdout)?;
        let all = found["Config"]["Env"].as_array().context("no Env")?;
        let pairs = all
            .iter()
            .filter_map(|one| one.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(pairs.collect())
    }

    /// `kill -9` of a service's containers in one region; how many there were.
    pub async fn kill_containers(&self, region: &str, service: ServiceId) -> Result<usize> {
        let socket = &self.status.regions[region].docker_socket;
        let containers = self.containers(socket, service).await?;
        for container in &containers {
            let id = text(container, "Id")?;
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--fail", "-X", "POST", "--unix-socket"])
                .arg(socket)
                .arg(format!("http://engine/containers/{id}/kill"));
            succeed(&mut curl).await?;
        }
        Ok(containers.len())
    }

    /// Packets that ever left a region's containers for another's, or came from there.
    pub async fn packets_between_containers(&self) -> Result<u64> {
        let mut packets = 0;
        for region in self.status.regions.values() {
            let mut list = Command::new("nsenter");
            list.arg(format!("--net=/run/netns/{}", region.netns))
                .args(["iptables", "-t", "mangle", "-nvxL", "FORWARD"]);
            let counters = succeed(&mut list).await?.stdout;
            let counters: Vec<_> = counters
                .lines()
                .filter(|line| line.contains("containers of"))
                .collect();
            ensure!(counters.len() == 2, "an invalid run: counters {counters:?}");
            for line in counters {
                let count = line
                    .split_whitespace()
                    .next()
                    .context("a counter begins with a number")?;
                packets += count.parse::<u64>()?;
            }
        }
        Ok(packets)
    }

    async fn containers(&self, socket: &Path, service: ServiceId) -> Result<Vec<Value>> {
        let filter = json!({ "label": [format!("railhead.service={service}")] }).to_string();
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--get",
            "http://engine/containers/json",
            "--data-urlencode",
        ])
        .arg(format!("filters={filter}"))
        .arg("--unix-socket")
        .arg(socket);
        Ok(serde_json::from_str(&succeed(&mut curl).await?.stdout)?)
    }

    /// The image that a service runs, every layer unpacked one after another, as `docker save` gives it.
    pub async fn saved_image(&self, service: ServiceId) -> Result<Vec<u8>> {
        let socket = &self.status.regions["us-east"].docker_socket;
        let containers = self.containers(socket, service).await?;
        let image = containers
            .first()
            .and_then(|container| container["ImageID"].as_str())
            .context("no container")?;
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://engine/images/{image}/get"));
        let output = curl.output().await?;
        ensure!(
            output.status.success(),
            "saving {image}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }
}
