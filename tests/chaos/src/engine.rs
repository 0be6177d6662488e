//! What the regions' engines have, past every other part of the platform.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};
use domain::id::ServiceId;
use e2e::{command::succeed, platform::Platform};
use serde_json::{Value, json};
use tokio::process::Command;

/// Asks for what carries our label.
pub const OURS: &str = "%7B%22label%22%3A%5B%22railhead.node%22%5D%7D";

const CREATED: &str = "created";

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    /// Whose engine has it.
    pub region: String,
    /// By its label.
    pub instance: String,
    /// The engine's own name of it: a container that was made anew has another.
    pub container: String,
}

/// Every container of ours that runs.
pub async fn running(platform: &Platform) -> Result<BTreeSet<Running>> {
    let mut all = BTreeSet::new();
    for (name, region) in &platform.status.regions {
        let path = format!("/containers/json?filters={OURS}");
        for container in get(&region.docker_socket, &path).await? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            all.insert(Running {
                region: name.clone(),
                instance: text(&container["Labels"]["railhead.instance"]),
                container: text(&container["Id"]),
            });
        }
    }
    Ok(all)
}

/// The container of a service that runs in one region: its id, and the host port that it is reached by.
pub async fn published(
    platform: &Platform,
    region: &str,
    service: ServiceId,
) -> Result<(String, u16)> {
    let socket = &platform.status.regions[region].docker_socket;
    let all = get(socket, &format!("/containers/json?filters={OURS}")).await?;
    let label = json!(service.to_string());
    let own = all
        .iter()
        .find(|one| one["Labels"]["railhead.service"] == label);
    let own = own.with_context(|| format!("no container of {service} in {region}"))?;
    let port = own["Ports"][0]["PublicPort"].as_u64();
    let id = own["Id"].as_str().context("a container without id")?;
    Ok((
        id.to_owned(),
        port.context("no published port")?.try_into()?,
    ))
}

/// Ends and removes a container, as somebody would who knows nothing of the platform.
pub async fn remove(platform: &Platform, region: &str, container: &str) -> Result<()> {
    let socket = &platform.status.regions[region].docker_socket;
    let path = format!("/containers/{container}?force=true");
    let mut call = call(socket, &path);
    succeed(call.args(["--request", "DELETE"])).await.map(drop)
}

/// Makes a container of an image that the engine has, as somebody would who knows nothing of the platform; its id.
pub async fn create_container(platform: &Platform, region: &str) -> Result<String> {
    let socket = &platform.status.regions[region].docker_socket;
    let images = get(socket, "/images/json").await?;
    let image = images.first().context("the engine has no image")?;
    let body = json!({ "Image": image["Id"], "HostConfig": { "NetworkMode": "none" } });
    let mut call = call(socket, "/containers/create");
    call.args(["--header", "content-type: application/json", "--data"])
        .arg(body.to_string());
    let created: Value = serde_json::from_str(&succeed(&mut call).await?.stdout)?;
    let id = created["Id"].as_str().context("a container without id")?;
    Ok(id.to_owned())
}

/// Starts a container.
pub async fn start(platform: &Platform, region: &str, container: &str) -> Result<()> {
    let socket = &platform.status.regions[region].docker_socket;
    let mut call = call(socket, &format!("/containers/{container}/start"));
    succeed(call.args(["--request", "POST"])).await.map(drop)
}

/// Makes a network, as somebody would who knows nothing of the platform.
pub async fn create_network(platform: &Platform, region: &str, name: &str) -> Result<()> {
    let socket = &platform.status.regions[region].docker_socket;
    let mut call = call(socket, "/networks/create");
    call.args(["--header", "content-type: application/json", "--data"])
        .arg(json!({ "Name": name, "Driver": "bridge" }).to_string());
    succeed(&mut call).await.map(drop)
}

/// The names of all networks of a region's engine.
pub async fn networks(platform: &Platform, region: &str) -> Result<Vec<String>> {
    let all = get(&platform.status.regions[region].docker_socket, "/networks").await?;
    let name = |network: &Value| network["Name"].as_str().map(str::to_owned);
    Ok(all.iter().filter_map(name).collect())
}

/// The state of a container that an engine has listed. It lists what it has last saved: of one that it started when its
/// disk took nothing it says `created` as long as that runs, and knows better when asked for that one.
pub async fn state(socket: &Path, listed: &Value) -> Result<String> {
    let listed_as = listed["State"].as_str().unwrap_or_default();
    if listed_as != CREATED {
        return Ok(listed_as.to_owned());
    }
    let id = listed["Id"].as_str().context("a container without id")?;
    match text(socket, &format!("/containers/{id}/json")).await {
        Ok(found) => {
            let found: Value = serde_json::from_str(&found)?;
            Ok(found["State"]["Status"]
                .as_str()
                .unwrap_or_default()
                .to_owned())
        }
        // It may have gone meanwhile.
        Err(_) => Ok(listed_as.to_owned()),
    }
}

fn call(socket: &Path, path: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10"])
        .arg("--unix-socket")
        .arg(socket)
        .arg(format!("http://engine{path}"));
    curl
}

/// What an engine answers to a GET.
pub async fn get(socket: &Path, path: &str) -> Result<Vec<Value>> {
    serde_json::from_str(&text(socket, path).await?)
        .with_context(|| format!("reading what {} answers", socket.display()))
}

/// The same, as it comes.
pub async fn text(socket: &Path, path: &str) -> Result<String> {
    Ok(succeed(&mut call(socket, path)).await?.stdout)
}
