//! Does one action. No choices are left here but whether it worked.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use chrono::Utc;
use domain::{id::InstanceId, spec::Confinement};
use protocol::{item::InstanceItem, report::Problem};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore};
use tracing::Instrument;

use super::{Action, Goal, Instance};
use crate::{
    control_plane::ControlPlane,
    garbage::Images,
    network::{self, Networks},
    ports::{self, Ports},
    runtime::{self, ContainerSpec, Labels, Publish, Runtime, Signal},
    secrets::{self, MissingSecret, Secrets},
};

/// Images pulled at once.
const PULLS: usize = 3;

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A container is there; it does not run yet.
    Created,
    /// It runs; `again` when it ran before.
    Started {
        /// A restart in place.
        again: bool,
    },
    /// The stop signal was sent.
    Signalled,
    /// SIGKILL was sent.
    Killed,
    /// The container is gone.
    Removed,
    /// It did not work.
    Failed(Problem),
}

/// What actions work with.
pub struct Parts {
    /// The engine.
    pub runtime: Arc<dyn Runtime>,
    /// Private networks and the firewall.
    pub networks: Arc<Networks>,
    /// Opens sealed variables.
    pub secrets: Arc<dyn Secrets>,
    /// For registry tokens.
    pub control_plane: Arc<dyn ControlPlane>,
    /// Images that were pulled.
    pub images: Arc<Images>,
    /// Host ports.
    pub ports: Ports,
    /// Host ports are published here.
    pub address: IpAddr,
    /// `host[:port]` of the platform's registry; images of other registries are pulled without a token.
    pub registry: Option<String>,
}

/// Everything that actions need, shared by those under way.
pub struct Context {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) address: IpAddr,
    networks: Arc<Networks>,
    secrets: Arc<dyn Secrets>,
    control_plane: Arc<dyn ControlPlane>,
    images: Arc<Images>,
    ports: Mutex<Ports>,
    registry: Option<String>,
    pulls: Semaphore,
}

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Secret(#[from] MissingSecret),
    #[error(transparent)]
    Port(#[from] ports::Error),
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
}

impl Error {
    fn problem(&self) -> Problem {
        let code = match self {
            Self::Runtime(error) | Self::Network(network::Error::Runtime(error)) => error.code(),
            Self::Network(network::Error::Firewall(_)) => "firewall_failed",
            Self::Secret(_) => "secret_missing",
            Self::Port(_) => "no_host_port",
            Self::Disk(_) => "disk_failed",
        };
        Problem {
            code: code.to_owned(),
            message: self.to_string(),
        }
    }
}

impl Context {
    /// With nothing under way.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            runtime: parts.runtime,
            address: parts.address,
            networks: parts.networks,
            secrets: parts.secrets,
            control_plane: parts.control_plane,
            images: parts.images,
            ports: Mutex::new(parts.ports),
            registry: parts.registry,
            pulls: Semaphore::new(PULLS),
        }
    }

    /// Does it, in a span of the deployment's trace.
    pub(super) async fn apply(
        self: Arc<Self>,
        action: Action,
        instance: Instance,
        held_ports: BTreeSet<u16>,
    ) -> Outcome {
        let span = tracing::info_span!("apply", action = ?action);
        if let Goal::Run(item) = &instance.goal
            && let Some(traceparent) = &item.traceparent
        {
            telemetry::context::set_parent(&span, traceparent);
        }
        let done = self.done(action, &instance, &held_ports).instrument(span);
        done.await.unwrap_or_else(|error| {
            let problem = error.problem();
            tracing::warn!(
                ?action,
                code = problem.code,
                message = problem.message,
                "an action on an instance failed"
            );
            Outcome::Failed(problem)
        })
    }

    async fn done(
        &self,
        action: Action,
        instance: &Instance,
        held_ports: &BTreeSet<u16>,
    ) -> Result<Outcome, Error> {
        match action {
            Action::Create(_) => {
                if let Goal::Run(item) = &instance.goal {
                    self.create(item, held_ports).await?;
                    failpoint::reach("container-created");
                }
                Ok(Outcome::Created)
            }
            Action::Start(id) => self.start(id, instance).await,
            Action::Signal(id) => {
                let signal = Signal::Stop(instance.record.stop_signal);
                self.runtime.signal(id, signal).await?;
                Ok(Outcome::Signalled)
            }
            Action::Kill(id) => {
                self.runtime.signal(id, Signal::Kill).await?;
                Ok(Outcome::Killed)
            }
            Action::Remove(id) | Action::Conclude(id) => {
                self.remove(id, instance).await?;
                Ok(Outcome::Removed)
            }
        }
    }

    async fn create(&self, item: &InstanceItem, held_ports: &BTreeSet<u16>) -> Result<(), Error> {
        self.ensure_image(item).await?;
        self.networks.ensure(item.environment_id).await?;
        let environment = secrets::environment(&item.environment, self.secrets.as_ref())?;
        let publish = match item.port {
            Some(port) => {
                let host = self.ports.lock().await.take(held_ports, Utc::now()).await?;
                let host = SocketAddr::new(self.address, host);
                Some(Publish { host, port })
            }
            None => None,
        };
        let spec = ContainerSpec {
            labels: Labels::from(item),
            item_digest: item_digest(item),
            service_name: item.service_name.clone(),
            image: item.image.clone(),
            command: item.command.clone(),
            environment,
            publish,
            resources: item.resources,
            confinement: item.confinement,
            stop_signal: item.stop_signal,
        };
        Ok(self.runtime.create(spec).await?)
    }

    /// The image is here, is for this machine, and is allowed by the profile.
    async fn ensure_image(&self, item: &InstanceItem) -> Result<(), Error> {
        let image = match self.runtime.image(&item.image).await? {
            Some(image) => image,
            None => self.pull(item).await?,
        };
        let needs = runtime::architecture();
        if image.architecture != needs {
            return Err(runtime::Error::WrongArchitecture {
                image: item.image.clone(),
                has: image.architecture,
                needs: needs.to_owned(),
            }
            .into());
        }
        if item.confinement == Confinement::Restricted && is_root(&image.user) {
            return Err(runtime::Error::RunsAsRoot {
                image: item.image.clone(),
                user: image.user,
            }
            .into());
        }
        Ok(())
    }

    async fn pull(&self, item: &InstanceItem) -> Result<runtime::Image, Error> {
        let failed = |reason: String| runtime::Error::Pull {
            image: item.image.clone(),
            reason,
        };
        let _turn = self
            .pulls
            .acquire()
            .await
            .map_err(|closed| failed(closed.to_string()))?;
        let token = match self.own_repository(&item.image) {
            Some(repository) => {
                let answer = self.control_plane.pull_token(repository).await;
                Some(answer.map_err(|error| failed(error.to_string()))?)
            }
            None => None,
        };
        self.images
            .note_pull(&item.image, item.service_id, Utc::now())
            .await?;
        self.runtime.pull(&item.image, token.as_deref()).await?;
        let image = self.runtime.image(&item.image).await?;
        Ok(image.ok_or_else(|| failed("it is not there after the pull".to_owned()))?)
    }

    /// `org_…/svc_…` when the image is in the platform's own registry.
    fn own_repository<'a>(&self, image: &'a str) -> Option<&'a str> {
        let (repository, _) = image.split_once('@')?;
        let path = repository.strip_prefix(self.registry.as_deref()?)?;
        path.strip_prefix('/')
    }

    async fn start(&self, id: InstanceId, instance: &Instance) -> Result<Outcome, Error> {
        let environment = instance.record.environment;
        let _permit = self.networks.permit_start(environment).await?;
        match self.runtime.start(id).await {
            Ok(()) => {
                failpoint::reach("container-started");
                Ok(Outcome::Started {
                    again: instance.record.counted_end.is_some(),
                })
            }
            // It is made anew.
            Err(error @ (runtime::Error::PortTaken { .. } | runtime::Error::HalfRemoved)) => {
                self.remove(id, instance).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn remove(&self, id: InstanceId, instance: &Instance) -> Result<(), Error> {
        self.runtime.remove(id).await?;
        failpoint::reach("container-removed");
        if let Some(port) = instance.record.host_port {
            let mut ports = self.ports.lock().await;
            ports.release(port, Utc::now()).await?;
        }
        Ok(())
    }
}

/// Empty, `root`, `0`, with or without a group. A name that the image maps to 0 passes: without
/// capabilities and new privileges it has no power of root's.
fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    name.is_empty() || name == "root" || name.parse::<u32>() == Ok(0)
}

fn item_digest(item: &InstanceItem) -> String {
    let bytes = serde_json::to_vec(item).unwrap_or_default();
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_counts_as_root() {
        for user in ["", "root", "0", "root:root", "0:0", "00", ":1000"] {
            assert!(is_root(user), "{user}");
        }
        for user in ["1000", "app", "65532:0", "nobody:nogroup"] {
            assert!(!is_root(user), "{user}");
        }
    }
}
