//! The shell with a fake engine: documents in, containers out.

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use protocol::log::LogBatch;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    control_plane::{ControlPlane, ShipError, Unavailable},
    desired::{self, Desired},
    garbage::Images,
    health::Prober,
    logs::{Logs, Store},
    network::{Guard, Networks, iptables},
    ports::Ports,
    runtime::{Image, PublishedPort, Runtime as _, Signal, fake::Fake},
    secrets::Secrets,
};

mod end;
mod lacking;
mod unseen;

struct Open;

#[async_trait]
impl Guard for Open {
    async fn ensure(&self, _: &BTreeSet<EnvironmentId>) -> Result<(), iptables::Error> {
        Ok(())
    }

    async fn stand_by(&self, _: &BTreeSet<PublishedPort>) -> Result<(), iptables::Error> {
        Ok(())
    }

    async fn stand_down(&self) -> Result<(), iptables::Error> {
        Ok(())
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn open(&self, _: &protocol::feed::SecretRef) -> Option<zeroize::Zeroizing<String>> {
        None
    }
}

/// Answers while it is up.
#[derive(Default)]
struct Platform(Mutex<bool>);

#[async_trait]
impl ControlPlane for Platform {
    async fn pull_token(&self, repository: &str) -> Result<String, Unavailable> {
        if *self.0.lock().unwrap() {
            Ok(format!("token for {repository}"))
        } else {
            Err(Unavailable("it is down".to_owned()))
        }
    }

    async fn ship_logs(&self, _: &LogBatch) -> Result<(), ShipError> {
        Err(ShipError::Unavailable("it is down".to_owned()))
    }
}

/// An agent's reconciler on a disk of its own.
struct Node {
    folder: tempfile::TempDir,
    engine: Arc<Fake>,
    platform: Arc<Platform>,
    desired: watch::Sender<Option<Arc<Desired>>>,
    running: Option<tokio::task::JoinHandle<()>>,
    end: CancellationToken,
    observed: watch::Receiver<Arc<Observed>>,
}

impl Node {
    fn start() -> Self {
        telemetry::init_crypto();
        let mut node = Self {
            folder: tempfile::tempdir().unwrap(),
            engine: Arc::default(),
            platform: Arc::default(),
            desired: watch::channel(None).0,
            running: None,
            end: CancellationToken::new(),
            observed: watch::channel(Arc::default()).1,
        };
        node.restart();
        node
    }

    /// As after a crash of the agent.
    fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        let path = |name| self.folder.path().join(name);
        let runtime: Arc<dyn crate::runtime::Runtime> = self.engine.clone();
        let context = Context::new(Parts {
            networks: Arc::new(Networks::new(Arc::clone(&runtime), Box::new(Open))),
            runtime,
            secrets: Arc::new(NoSecrets),
            control_plane: self.platform.clone(),
            images: Arc::new(Images::load(path("images.json")).unwrap()),
            ports: Ports::load(path("ports.json"), 20_000..=20_099).unwrap(),
            address: [10, 0, 0, 1].into(),
            registry: Some("registry.test".to_owned()),
        });
        let logs = Logs::spawn(Store::open(path("logs"), 1 << 20).unwrap());
        let (shell, observed) = Shell::new(
            Arc::new(context),
            logs,
            path("instances.json"),
            self.desired.subscribe(),
            Arc::new(Prober::new().unwrap()),
        )
        .unwrap();
        self.observed = observed;
        self.end = CancellationToken::new();
        self.running = Some(tokio::spawn(shell.run(self.end.clone())));
    }

    fn want(&self, items: &[&InstanceItem]) {
        let wanted = |item: &&InstanceItem| desired::Wanted {
            item: Arc::new((*item).clone()),
            orphaned: false,
            stored: None,
        };
        let instances = items.iter().map(|item| (item.id, wanted(item)));
        self.desired.send_replace(Some(Arc::new(Desired {
            instances: instances.collect(),
            ..Desired::default()
        })));
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Observed, &Fake) -> bool) {
        let engine = Arc::clone(&self.engine);
        let waiting = async {
            while !holds(&self.observed.borrow_and_update().clone(), &engine) {
                // The engine is no part of what is observed: look at it again from time to time.
                let _ =
                    tokio::time::timeout(Duration::from_millis(20), self.observed.changed()).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        waited.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn is_running(engine: &Fake, id: InstanceId) -> bool {
    let world = engine.world();
    let container = world.containers.get(&id);
    container.is_some_and(|container| matches!(container.phase, Phase::Running { .. }))
}

fn has_image(node: &Node, item: &InstanceItem, user: &str) {
    let image = Image {
        architecture: crate::runtime::architecture().to_owned(),
        user: user.to_owned(),
    };
    node.engine.world().images.insert(item.image.clone(), image);
}

fn worker() -> InstanceItem {
    let run = RunMode::Service {
        startup: None,
        readiness: None,
        liveness: None,
    };
    InstanceItem {
        port: None,
        ..item(run)
    }
}

#[tokio::test]
async fn runs_from_the_disk_with_the_control_plane_down_once_the_image_is_here() {
    let (mut node, web) = (Node::start(), worker());
    node.want(&[&web]);
    node.until("the pull fails", |observed, _| {
        let problem = observed.instances.first().and_then(|i| i.problem.clone());
        problem.is_some_and(|problem| problem.code == "image_pull_failed")
    })
    .await;
    has_image(&node, &web, "1000");
    node.until("it is ready", |observed, engine| {
        is_running(engine, web.id) && observed.instances[0].ready
    })
    .await;
    assert!(node.engine.world().pulls.is_empty());
}

#[tokio::test]
async fn an_action_that_a_bug_broke_off_is_reported_and_tried_again() {
    let (mut node, web) = (Node::start(), worker());
    has_image(&node, &web, "1000");
    node.engine.world().panics = true;
    node.want(&[&web]);
    node.until("the bug is reported", |observed, _| {
        let problem = observed.instances.first().and_then(|i| i.problem.clone());
        problem.is_some_and(|problem| problem.code == "agent_failed")
    })
    .await;
    node.engine.world().panics = false;
    node.until("it runs", |_, engine| is_running(engine, web.id))
        .await;
}

#[tokio::test]
async fn what_an_engine_was_killed_removing_is_made_anew() {
    let (mut node, web) = (Node::start(), worker());
    has_image(&node, &web, "1000");
    node.engine.world().half_removed.insert(web.id);
    node.want(&[&web]);
    node.until("it runs", |_, engine| is_running(engine, web.id))
        .await;
    assert_eq!(node.engine.world().starts[&web.id], 2);
}

#[tokio::test]
async fn pulls_with_a_token_for_the_platform_s_registry_only() {
    let mut node = Node::start();
    *node.platform.0.lock().unwrap() = true;
    let own = worker();
    let foreign = InstanceItem {
        image: "elsewhere.test/app@sha256:11".to_owned(),
        ..worker()
    };
    node.want(&[&own, &foreign]);
    node.until("both run", |_, engine| {
        is_running(engine, own.id) && is_running(engine, foreign.id)
    })
    .await;
    let pulls: BTreeMap<String, Option<String>> =
        node.engine.world().pulls.clone().into_iter().collect();
    assert_eq!(pulls[&own.image].as_deref(), Some("token for org/svc"));
    assert_eq!(pulls[&foreign.image], None);
}

#[tokio::test]
async fn an_image_that_starts_as_root_needs_another_profile() {
    let (mut node, web) = (Node::start(), worker());
    has_image(&node, &web, "");
    node.want(&[&web]);
    node.until("it is refused", |observed, _| {
        let problem = observed.instances.first().and_then(|i| i.problem.clone());
        problem.is_some_and(|problem| {
            problem.code == "image_runs_as_root"
                && problem
                    .message
                    .contains("deploy.confinement = \"baseline\"")
        })
    })
    .await;
    assert!(node.engine.world().containers.is_empty());
}

#[tokio::test]
async fn a_restarted_agent_adopts_and_starts_nothing_twice() {
    let (mut node, web) = (Node::start(), worker());
    has_image(&node, &web, "1000");
    node.want(&[&web]);
    node.until("it runs", |observed, _| {
        observed.instances.first().is_some_and(|i| i.ready)
    })
    .await;
    let disk = node.folder.path().join("instances.json");
    node.until("it is on the disk", |_, _| {
        std::fs::read_to_string(&disk).is_ok_and(|text| text.contains(r#""ready":true"#))
    })
    .await;
    node.restart();
    assert!(
        node.observed.borrow().instances[0].ready,
        "known from the disk at once"
    );
    node.until("the engine was asked", |observed, _| observed.complete)
        .await;
    assert_eq!(node.engine.world().starts[&web.id], 1);
}

#[tokio::test]
async fn an_address_is_confirmed_only_while_a_container_is_seen_to_hold_it() {
    let mut node = Node::start();
    let web = InstanceItem {
        port: Some(8080),
        ..worker()
    };
    has_image(&node, &web, "1000");
    node.want(&[&web]);
    node.until("it is confirmed", |observed, _| {
        let all = observed.confirmations.as_ref();
        all.is_some_and(|all| all.contains_key(&web.id))
    })
    .await;
    let disk = node.folder.path().join("instances.json");
    node.until("it is on the disk", |_, _| {
        std::fs::read_to_string(&disk).is_ok_and(|text| text.contains(r#""host_port":20000"#))
    })
    .await;

    node.engine.world().down = true;
    node.restart();
    let remembered = node.observed.borrow().clone();
    assert!(remembered.instances[0].address.is_some());
    assert_eq!(remembered.confirmations, None);

    node.engine.world().containers.clear();
    node.engine.world().images.clear();
    node.engine.world().down = false;
    node.until("nothing is confirmed", |observed, _| {
        observed
            .confirmations
            .as_ref()
            .is_some_and(BTreeMap::is_empty)
    })
    .await;
}

#[tokio::test]
async fn a_lost_engine_changes_nothing_and_a_program_that_ended_meanwhile_is_started_again() {
    let (mut node, web) = (Node::start(), worker());
    has_image(&node, &web, "1000");
    node.want(&[&web]);
    node.until("it runs", |observed, _| {
        observed.instances.first().is_some_and(|i| i.ready)
    })
    .await;
    node.engine.world().down = true;
    node.engine.exit(web.id, 1);
    assert!(node.observed.borrow().instances[0].ready);
    node.engine.world().down = false;
    node.until("it is started again", |observed, engine| {
        engine.world().starts[&web.id] == 2 && observed.instances[0].restarts == 1
    })
    .await;
}
