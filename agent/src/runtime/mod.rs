//! What the agent needs of a container engine. Two things keep it safe: a container is named after
//! its instance, so the engine itself refuses a second one; and only containers with this node's
//! label exist for us.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr, SocketAddrV4},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{
    id::{DeploymentId, EnvironmentId, InstanceId, OrganizationId, ReleaseId, ServiceId},
    name::{Name, VariableName},
    quantity::Bytes,
    spec::{Confinement, Resources, StopSignal},
};
use futures::stream::BoxStream;
use protocol::{item::InstanceItem, log::LogLine, report::Problem};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub mod docker;
#[cfg(test)]
pub mod fake;

/// A container engine.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Every container of this node, in any phase.
    async fn list(&self) -> Result<Vec<Container>, Error>;
    /// What is known about an image that is here; `None` when it must be pulled.
    async fn image(&self, image: &str) -> Result<Option<Image>, Error>;
    /// Pulls an image by digest.
    async fn pull(&self, image: &str, token: Option<&str>) -> Result<(), Error>;
    /// Makes sure that the environment's private network exists.
    async fn ensure_network(&self, environment: EnvironmentId) -> Result<(), Error>;
    /// Makes a container; it does not run yet.
    async fn create(&self, spec: ContainerSpec) -> Result<(), Error>;
    /// Starts a container that is created or has ended.
    async fn start(&self, instance: InstanceId) -> Result<(), Error>;
    /// Sends a signal; a container that has ended already is no error.
    async fn signal(&self, instance: InstanceId, signal: Signal) -> Result<(), Error>;
    /// Removes an ended container; one that is gone already is no error.
    async fn remove(&self, instance: InstanceId) -> Result<(), Error>;
    /// What a running container uses.
    async fn sample(&self, instance: InstanceId) -> Result<Sample, Error>;
    /// A container's lines after `since`, until it ends.
    fn logs(
        &self,
        instance: InstanceId,
        since: Option<DateTime<Utc>>,
    ) -> BoxStream<'static, Result<LogLine, Error>>;
    /// Something about this node's containers has changed. Ends when the engine is lost.
    fn changes(&self) -> BoxStream<'static, Result<(), Error>>;
    /// Environments that have a network here.
    async fn networks(&self) -> Result<Vec<EnvironmentId>, Error>;
    /// Removes the network of an environment without containers.
    async fn remove_network(&self, environment: EnvironmentId) -> Result<(), Error>;
    /// Removes an image that no container uses.
    async fn remove_image(&self, image: &str) -> Result<(), Error>;
}

/// A container of this node, as the engine tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Whose copy it is.
    pub labels: Labels,
    /// What it does.
    pub phase: Phase,
    /// `sha256:…` of the manifest it was made from.
    pub image_digest: Option<String>,
    /// On the environment's network; probes go here.
    pub ip: Option<IpAddr>,
    /// Published on the node's address.
    pub host_port: Option<u16>,
    /// How that port leads into it, while it runs.
    pub published: Option<PublishedPort>,
}

/// A port of the node and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// On the node's address.
    pub host: SocketAddrV4,
    /// On the environment's network.
    pub target: SocketAddrV4,
    /// The container's first process, on the node.
    pub pid: u32,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Made, never started.
    Created,
    /// As [`Phase::Created`], but its program has begun once: the engine's end has cut its start off.
    CutOff,
    /// Runs.
    Running {
        /// Start of this run; differs after a restart in place.
        since: DateTime<Utc>,
    },
    /// Has ended.
    Ended {
        /// Start of the run.
        since: DateTime<Utc>,
        /// End of the run.
        at: DateTime<Utc>,
        /// Its exit code.
        exit_code: i64,
        /// The kernel ended it at its memory limit.
        out_of_memory: bool,
    },
}

/// Whose a container is, written on it so that it can be adopted without any other record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels {
    /// The instance.
    pub instance: InstanceId,
    /// What it is a copy of.
    pub service: ServiceId,
    /// Its network.
    pub environment: EnvironmentId,
    /// Its version.
    pub release: ReleaseId,
    /// The tenant.
    pub organization: OrganizationId,
    /// What placed it.
    pub deployment: DeploymentId,
}

impl Labels {
    /// As key and value, without the node's own label.
    #[must_use]
    pub fn to_map(self) -> HashMap<String, String> {
        [
            ("railhead.instance", self.instance.to_string()),
            ("railhead.service", self.service.to_string()),
            ("railhead.environment", self.environment.to_string()),
            ("railhead.release", self.release.to_string()),
            ("railhead.organization", self.organization.to_string()),
            ("railhead.deployment", self.deployment.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Reads them back; `None` when one is missing or no id.
    #[must_use]
    pub fn from_map(map: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            instance: map.get("railhead.instance")?.parse().ok()?,
            service: map.get("railhead.service")?.parse().ok()?,
            environment: map.get("railhead.environment")?.parse().ok()?,
            release: map.get("railhead.release")?.parse().ok()?,
            organization: map.get("railhead.organization")?.parse().ok()?,
            deployment: map.get("railhead.deployment")?.parse().ok()?,
        })
    }
}

impl From<&InstanceItem> for Labels {
    fn from(item: &InstanceItem) -> Self {
        Self {
            instance: item.id,
            service: item.service_id,
            environment: item.environment_id,
            release: item.release_id,
            organization: item.organization_id,
            deployment: item.deployment_id,
        }
    }
}

/// What a container shall be.
#[derive(Clone)]
pub struct ContainerSpec {
    /// Whose it is.
    pub labels: Labels,
    /// Of the item it was made from, hexadecimal; written on the container as evidence.
    pub item_digest: String,
    /// `<name>.internal` on the environment's network.
    pub service_name: Name,
    /// By digest.
    pub image: String,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// With secrets opened: never logged, handed to the engine only.
    pub environment: BTreeMap<VariableName, Zeroizing<String>>,
    /// Where its port is published.
    pub publish: Option<Publish>,
    /// Limits.
    pub resources: Resources,
    /// Profile.
    pub confinement: Confinement,
    /// What asks it to end.
    pub stop_signal: StopSignal,
}

/// A container's port on the node's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// On the node.
    pub host: SocketAddr,
    /// In the container.
    pub port: u16,
}

/// What is sent to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end.
    Stop(StopSignal),
    /// Ends it.
    Kill,
}

impl Signal {
    /// As the engine writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop(signal) => signal.as_str(),
            Self::Kill => "SIGKILL",
        }
    }
}

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As the OCI writes it: `amd64`.
    pub architecture: String,
    /// Its USER; empty means root.
    pub user: String,
}

/// What a container has used up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// CPU time since its start, in nanoseconds.
    pub cpu_ns: u64,
    /// Working set.
    pub memory: Bytes,
    /// Since its start.
    pub received: Bytes,
    /// Since its start.
    pub sent: Bytes,
}

/// Why the engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The engine can't be reached or answered something unexpected.
    #[error("the container engine could not {tried}: {reason}")]
    Engine {
        /// What was asked.
        tried: &'static str,
        /// Its answer.
        reason: String,
    },
    /// The registry has no such image.
    #[error("image {image} is not in the registry: deploy again to build it anew")]
    ImageMissing {
        /// Which.
        image: String,
    },
    /// The image could not be pulled.
    #[error("can't pull {image}: {reason}")]
    Pull {
        /// Which.
        image: String,
        /// The engine's or the control plane's words.
        reason: String,
    },
    /// Made for other machines.
    #[error(
        "image {image} is for {has}, this node is {needs}: build it for linux/{needs} or for several platforms"
    )]
    WrongArchitecture {
        /// Which.
        image: String,
        /// What it is for.
        has: String,
        /// What would run here.
        needs: String,
    },
    /// The profile `restricted` forbids root.
    #[error(
        "image {image} runs as root (USER \"{user}\"), which the profile \"restricted\" forbids: set a USER in the Dockerfile, or deploy.confinement = \"baseline\""
    )]
    RunsAsRoot {
        /// Which.
        image: String,
        /// Its USER.
        user: String,
    },
    /// Something else on this machine holds the host port.
    #[error("host port {port} is held by another program on this machine")]
    PortTaken {
        /// Which.
        port: u16,
    },
    /// The engine was killed while it removed the container: what is left can only be removed.
    #[error("the engine has removed half of the container, and starts it no more")]
    HalfRemoved,
    /// The container's program could not be started.
    #[error("can't start the container: {reason}")]
    Start {
        /// The engine's words.
        reason: String,
    },
}

impl Error {
    /// The stable code of [`Problem`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Engine { .. } | Self::HalfRemoved => "engine_failed",
            Self::ImageMissing { .. } => "image_missing",
            Self::Pull { .. } => "image_pull_failed",
            Self::WrongArchitecture { .. } => "wrong_architecture",
            Self::RunsAsRoot { .. } => "image_runs_as_root",
            Self::PortTaken { .. } => "host_port_taken",
            Self::Start { .. } => "start_failed",
        }
    }

    /// For reports.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem {
            code: self.code().to_owned(),
            message: self.to_string(),
        }
    }
}

/// This node's architecture, as the OCI writes it.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
