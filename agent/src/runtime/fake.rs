//! A container engine in memory, for tests of the reconciler. It keeps the rules of a real one:
//! names are unique, only ended containers are removed, and programs end when they are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::id::{EnvironmentId, InstanceId};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use protocol::log::LogLine;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;

use super::{Container, ContainerSpec, Error, Image, Phase, Runtime, Sample, Signal, architecture};

/// The engine.
pub struct Fake {
    world: Mutex<World>,
    changed: broadcast::Sender<Event>,
    starts_held: watch::Sender<bool>,
}

#[derive(Clone, Copy)]
enum Event {
    Change,
    /// The last one of a stream.
    Cut,
}

/// What a test may look at and break.
#[derive(Default)]
pub struct World {
    pub containers: BTreeMap<InstanceId, Container>,
    pub networks: BTreeSet<EnvironmentId>,
    /// Somebody else holds on to them.
    pub stuck_networks: BTreeSet<EnvironmentId>,
    pub images: BTreeMap<String, Image>,
    pub pulls: Vec<(String, Option<String>)>,
    pub signals: Vec<(InstanceId, Signal)>,
    /// Starts that wait until they are let go.
    pub held_starts: usize,
    /// How often each container was started.
    pub starts: BTreeMap<InstanceId, u32>,
    /// Calls fail.
    pub down: bool,
    /// Of each the removal was cut off: it can't be started.
    pub half_removed: BTreeSet<InstanceId>,
    /// Who makes a container meets a bug.
    pub panics: bool,
    /// Programs take no notice of the stop signal.
    pub stubborn: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            world: Mutex::default(),
            changed: broadcast::channel(64).0,
            starts_held: watch::channel(false).0,
        }
    }
}

impl Fake {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Starts take as long as this says.
    pub fn hold_starts(&self, held: bool) {
        self.starts_held.send_replace(held);
    }

    async fn start_is_let_go(&self) {
        self.world().held_starts += 1;
        // The sender is ours, and still there.
        let _ = self.starts_held.subscribe().wait_for(|held| !held).await;
        self.world().held_starts -= 1;
    }

    /// A program ends by itself.
    pub fn exit(&self, instance: InstanceId, exit_code: i64) {
        self.world().end(instance, exit_code);
        let _ = self.changed.send(Event::Change);
    }

    /// Its events break off, as when it ends and is there again before anybody asks.
    pub fn cut_events(&self) {
        let _ = self.changed.send(Event::Cut);
    }

    fn answer<T>(&self, act: impl FnOnce(&mut World) -> Result<T, Error>) -> Result<T, Error> {
        let mut world = self.world();
        if world.down {
            return Err(refused("it is down"));
        }
        let answer = act(&mut world);
        let _ = self.changed.send(Event::Change);
        answer
    }
}

impl World {
    fn end(&mut self, instance: InstanceId, exit_code: i64) {
        if let Some(container) = self.containers.get_mut(&instance)
            && let Phase::Running { since } = container.phase
        {
            container.phase = Phase::Ended {
                since,
                at: Utc::now(),
                exit_code,
                out_of_memory: false,
            };
        }
    }
}

fn refused(reason: &str) -> Error {
    Error::Engine {
        tried: "answer",
        reason: reason.to_owned(),
    }
}

#[async_trait]
impl Runtime for Fake {
    async fn list(&self) -> Result<Vec<Container>, Error> {
        let world = self.world();
        if world.down {
            return Err(refused("it is down"));
        }
        Ok(world.containers.values().cloned().collect())
    }

    async fn image(&self, image: &str) -> Result<Option<Image>, Error> {
        self.answer(|world| Ok(world.images.get(image).cloned()))
    }

    async fn pull(&self, image: &str, token: Option<&str>) -> Result<(), Error> {
        self.answer(|world| {
            world
                .pulls
                .push((image.to_owned(), token.map(str::to_owned)));
            let pulled = Image {
                architecture: architecture().to_owned(),
                user: "1000".to_owned(),
            };
            world.images.insert(image.to_owned(), pulled);
            Ok(())
        })
    }

    async fn ensure_network(&self, environment: EnvironmentId) -> Result<(), Error> {
        self.answer(|world| {
            world.networks.insert(environment);
            Ok(())
        })
    }

    async fn create(&self, spec: ContainerSpec) -> Result<(), Error> {
        let panics = self.world().panics;
        assert!(!panics, "a planted bug");
        self.answer(|world| {
            if world.containers.contains_key(&spec.labels.instance) {
                return Err(refused(
                    "the name is taken: a second container for one instance",
                ));
            }
            let container = Container {
                labels: spec.labels,
                phase: Phase::Created,
                image_digest: None,
                ip: None,
                host_port: spec.publish.map(|publish| publish.host.port()),
                published: None,
            };
            world.containers.insert(spec.labels.instance, container);
            Ok(())
        })
    }

    async fn start(&self, instance: InstanceId) -> Result<(), Error> {
        self.start_is_let_go().await;
        self.answer(|world| {
            *world.starts.entry(instance).or_default() += 1;
            if world.half_removed.contains(&instance) {
                return Err(Error::HalfRemoved);
            }
            let container = world.containers.get_mut(&instance);
            let container = container.ok_or_else(|| refused("no such container"))?;
            container.phase = Phase::Running { since: Utc::now() };
            Ok(())
        })
    }

    async fn signal(&self, instance: InstanceId, signal: Signal) -> Result<(), Error> {
        self.answer(|world| {
            world.signals.push((instance, signal));
            if signal == Signal::Kill {
                world.end(instance, 137);
            } else if !world.stubborn {
                world.end(instance, 143);
            }
            Ok(())
        })
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), Error> {
        self.answer(|world| {
            if let Some(Container {
                phase: Phase::Running { .. },
                ..
            }) = world.containers.get(&instance)
            {
                return Err(refused("the container runs"));
            }
            world.containers.remove(&instance);
            world.half_removed.remove(&instance);
            Ok(())
        })
    }

    async fn sample(&self, _: InstanceId) -> Result<Sample, Error> {
        Ok(Sample::default())
    }

    fn logs(
        &self,
        _: InstanceId,
        _: Option<DateTime<Utc>>,
    ) -> BoxStream<'static, Result<LogLine, Error>> {
        stream::empty().boxed()
    }

    fn changes(&self) -> BoxStream<'static, Result<(), Error>> {
        BroadcastStream::new(self.changed.subscribe())
            .map(|event| match event {
                Ok(Event::Cut) => Err(refused("it has ended")),
                Ok(Event::Change) | Err(_) => Ok(()),
            })
            .boxed()
    }

    async fn networks(&self) -> Result<Vec<EnvironmentId>, Error> {
        self.answer(|world| Ok(world.networks.iter().copied().collect()))
    }

    async fn remove_network(&self, environment: EnvironmentId) -> Result<(), Error> {
        self.answer(|world| {
            if world.stuck_networks.contains(&environment) {
                return Err(refused("the network has active endpoints"));
            }
            world.networks.remove(&environment);
            Ok(())
        })
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        self.answer(|world| {
            world.images.remove(image);
            Ok(())
        })
    }
}
