//! The runtime `docker`: one Docker Engine through its unix socket. The engine may be away when the
//! agent starts and at any time later; each call says so and the next one tries again.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bollard::query_parameters::{
    EventsOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use chrono::{DateTime, Utc};
use domain::id::{EnvironmentId, InstanceId, NodeId};
use futures::{StreamExt, stream::BoxStream};
use protocol::log::LogLine;
use tokio::sync::OnceCell;

use super::{Container, ContainerSpec, Error, Image, Phase, Runtime, Sample, Signal};
use crate::engine_tasks;

mod create;
mod image;
mod logs;
mod network;
mod observe;
mod sample;

const REQUEST_TIMEOUT_SECONDS: u64 = 60;

/// A Docker Engine.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
    node: NodeId,
    /// Name servers of containers; the engine's own when empty.
    dns: Vec<String>,
    client: OnceCell<bollard::Docker>,
    /// The engine's data folder.
    data_root: OnceCell<PathBuf>,
}

impl Docker {
    /// For the containers of this node behind this socket; connects at the first call.
    #[must_use]
    pub fn new(socket: &Path, node: NodeId, dns: &[Ipv4Addr]) -> Self {
        Self {
            socket: socket.to_owned(),
            node,
            dns: dns.iter().map(ToString::to_string).collect(),
            client: OnceCell::new(),
            data_root: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&bollard::Docker, Error> {
        self.client
            .get_or_try_init(|| async {
                bollard::Docker::connect_with_socket(
                    &self.socket.to_string_lossy(),
                    REQUEST_TIMEOUT_SECONDS,
                    bollard::API_DEFAULT_VERSION,
                )?
                .negotiate_version()
                .await
            })
            .await
            .map_err(failed("connect"))
    }
}

impl Docker {
    /// Whether the program of a container has begun that the engine takes for one that never ran.
    async fn has_begun(&self, container: &str) -> Result<bool, Error> {
        let root = self.data_root.get_or_try_init(|| self.ask_data_root());
        let mark = engine_tasks::mark(root.await?, container);
        Ok(tokio::fs::try_exists(mark).await.unwrap_or_default())
    }

    async fn ask_data_root(&self) -> Result<PathBuf, Error> {
        let client = self.client().await?;
        let info = client.info().await.map_err(failed("ask for its folder"))?;
        Ok(info.docker_root_dir.unwrap_or_default().into())
    }
}

#[async_trait]
impl Runtime for Docker {
    async fn list(&self) -> Result<Vec<Container>, Error> {
        let client = self.client().await?;
        let mut found = observe::list(client, self.node).await?;
        for (id, container) in &mut found {
            if container.phase == Phase::Created && self.has_begun(id).await? {
                container.phase = Phase::CutOff;
            }
        }
        Ok(found.into_iter().map(|(_, container)| container).collect())
    }

    async fn image(&self, image: &str) -> Result<Option<Image>, Error> {
        image::inspect(self.client().await?, image).await
    }

    async fn pull(&self, image: &str, token: Option<&str>) -> Result<(), Error> {
        image::pull(self.client().await?, image, token).await
    }

    async fn ensure_network(&self, environment: EnvironmentId) -> Result<(), Error> {
        network::ensure(self.client().await?, self.node, environment).await
    }

    async fn create(&self, spec: ContainerSpec) -> Result<(), Error> {
        create::create(self.client().await?, self.node, &self.dns, spec).await
    }

    async fn start(&self, instance: InstanceId) -> Result<(), Error> {
        create::start(self.client().await?, instance).await
    }

    async fn signal(&self, instance: InstanceId, signal: Signal) -> Result<(), Error> {
        let options = KillContainerOptionsBuilder::new()
            .signal(signal.as_str())
            .build();
        let client = self.client().await?;
        let answer = client
            .kill_container(&container_name(instance), Some(options))
            .await;
        accept(answer, &[404, 409]).map_err(failed("signal the container"))
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().v(true).build();
        let client = self.client().await?;
        let answer = client
            .remove_container(&container_name(instance), Some(options))
            .await;
        accept(answer, &[404]).map_err(failed("remove the container"))
    }

    async fn sample(&self, instance: InstanceId) -> Result<Sample, Error> {
        sample::take(self.client().await?, instance).await
    }

    fn logs(
        &self,
        instance: InstanceId,
        since: Option<DateTime<Utc>>,
    ) -> BoxStream<'static, Result<LogLine, Error>> {
        let docker = self.clone();
        futures::stream::once(async move { docker.client().await.cloned() })
            .flat_map(move |client| match client {
                Ok(client) => logs::follow(&client, instance, since),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    fn changes(&self) -> BoxStream<'static, Result<(), Error>> {
        let (docker, node) = (self.clone(), self.node);
        futures::stream::once(async move { docker.client().await.cloned() })
            .flat_map(move |client| match client {
                Ok(client) => changes(&client, node),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn networks(&self) -> Result<Vec<EnvironmentId>, Error> {
        network::list(self.client().await?, self.node).await
    }

    async fn remove_network(&self, environment: EnvironmentId) -> Result<(), Error> {
        network::remove(self.client().await?, environment).await
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        image::remove(self.client().await?, image).await
    }
}

fn changes(client: &bollard::Docker, node: NodeId) -> BoxStream<'static, Result<(), Error>> {
    let filters = [
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![node_label(node)]),
        (
            "event".to_owned(),
            ["create", "start", "die", "oom", "destroy"]
                .map(str::to_owned)
                .to_vec(),
        ),
    ]
    .into();
    let options = EventsOptionsBuilder::new().filters(&filters).build();
    client
        .events(Some(options))
        .map(|event| event.map(|_| ()).map_err(failed("send events")))
        .boxed()
}

/// The label that makes a container, network or image ours, as filters want it.
fn node_label(node: NodeId) -> String {
    format!("railhead.node={node}")
}

/// Also the lock against a second container for one instance.
fn container_name(instance: InstanceId) -> String {
    format!("rh-{instance}")
}

fn failed(tried: &'static str) -> impl Fn(bollard::errors::Error) -> Error {
    move |error| Error::Engine {
        tried,
        reason: reason(&error),
    }
}

/// The engine's own words, without bollard's around them.
fn reason(error: &bollard::errors::Error) -> String {
    match error {
        bollard::errors::Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Whether the engine answered with this status.
fn has_status(error: &bollard::errors::Error, status: u16) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// Takes some statuses as success: the wanted state was there already.
fn accept(
    answer: Result<(), bollard::errors::Error>,
    statuses: &[u16],
) -> Result<(), bollard::errors::Error> {
    match answer {
        Err(error) if statuses.iter().any(|status| has_status(&error, *status)) => Ok(()),
        other => other,
    }
}
