//! The agent's workload half on a [`Machine`], with a control plane that can be away.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use agent::{
    control_plane::{ControlPlane, ShipError, Unavailable},
    desired::{Desired, Wanted},
    garbage::Images,
    health::Prober,
    logs::{self, Logs, Store},
    network::{Networks, firewall::Firewall, published},
    ports::Ports,
    reconcile::{Context, Engine, Observed, Parts, Shell},
    runtime::{Runtime, docker::Docker},
    secrets::Secrets,
};
use async_trait::async_trait;
use domain::{
    id::{DeploymentId, EnvironmentId, InstanceId, NodeId, OrganizationId, ReleaseId, ServiceId},
    instance::{Desired as Wish, State},
    quantity::{Bytes, MilliCpu, Span},
    spec::{Confinement, Probe, Resources, StopSignal},
};
use protocol::{
    feed::SecretRef,
    item::{InstanceItem, RunMode, Value},
    log::{LogBatch, LogSource},
    report::InstanceReport,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    machine::Machine,
    outside::{ADDRESS, DENIED},
    process::until,
};

/// Takes logs while it is up.
#[derive(Default)]
pub struct Platform {
    pub up: Mutex<bool>,
    pub batches: Mutex<Vec<LogBatch>>,
}

#[async_trait]
impl ControlPlane for Platform {
    async fn pull_token(&self, _: &str) -> Result<String, Unavailable> {
        Err(Unavailable("not asked in these tests".to_owned()))
    }

    async fn ship_logs(&self, batch: &LogBatch) -> Result<(), ShipError> {
        if !*self.up.lock().unwrap() {
            return Err(ShipError::Unavailable("it is down".to_owned()));
        }
        self.batches.lock().unwrap().push(batch.clone());
        Ok(())
    }
}

impl Platform {
    pub fn lines(&self, instance: InstanceId) -> Vec<String> {
        let batches = self.batches.lock().unwrap();
        let of = batches
            .iter()
            .filter(|batch| batch.source == LogSource::Instance(instance));
        of.flat_map(|batch| batch.lines.iter().map(|line| line.text.clone()))
            .collect()
    }
}

struct OneSecret;

impl Secrets for OneSecret {
    fn open(&self, secret: &SecretRef) -> Option<Zeroizing<String>> {
        (secret.key == "variable/one").then(|| Zeroizing::new("s3cret".to_owned()))
    }
}

pub struct Node {
    pub machine: Machine,
    pub platform: Arc<Platform>,
    id: NodeId,
    desired: watch::Sender<Option<Arc<Desired>>>,
    observed: watch::Receiver<Arc<Observed>>,
    tasks: JoinSet<()>,
}

impl Node {
    pub fn start(machine: Machine) -> Self {
        let mut node = Self {
            machine,
            platform: Arc::default(),
            id: NodeId::new(),
            desired: watch::channel(None).0,
            observed: watch::channel(Arc::default()).1,
            tasks: JoinSet::new(),
        };
        *node.platform.up.lock().unwrap() = true;
        node.restart();
        node
    }

    /// As after a crash of the agent: what it knows is on its disk and in the engine.
    pub fn restart(&mut self) {
        self.tasks = JoinSet::new();
        let path = |name| self.machine.path("agent").join(name);
        let runtime: Arc<dyn Runtime> = Arc::new(Docker::new(&self.machine.socket(), self.id, &[]));
        let firewall = Firewall::new(vec![format!("{DENIED}/16").parse().unwrap()], Vec::new());
        let logs = Logs::spawn(Store::open(path("logs"), 1 << 26).unwrap());
        let networks = Arc::new(Networks::new(Arc::clone(&runtime), Box::new(firewall)));
        let published = published::Memory::load(path("published-ports.json")).unwrap();
        let context = Context::new(Parts {
            networks: Arc::clone(&networks),
            runtime,
            secrets: Arc::new(OneSecret),
            control_plane: self.platform.clone(),
            images: Arc::new(Images::load(path("images.json")).unwrap()),
            ports: Ports::load(path("ports.json"), 20_000..=20_999).unwrap(),
            address: ADDRESS.parse().unwrap(),
            registry: None,
        });
        let (shell, observed) = Shell::new(
            Arc::new(context),
            logs.clone(),
            path("instances.json"),
            self.desired.subscribe(),
            Arc::new(Prober::new().unwrap()),
        )
        .unwrap();
        let keep = published::keep(networks, published, observed.clone());
        self.observed = observed;
        self.tasks.spawn(shell.run(CancellationToken::new()));
        self.tasks.spawn(keep);
        self.tasks.spawn(logs::ship(logs, self.platform.clone()));
    }

    pub fn want(&self, items: &[&InstanceItem]) {
        let wanted = |item: &&InstanceItem| Wanted {
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

    /// Whether the engine answers, as the agent sees it.
    pub fn engine(&self) -> Engine {
        self.observed.borrow().engine
    }

    pub fn report(&self, id: InstanceId) -> Option<InstanceReport> {
        let observed = self.observed.borrow();
        observed
            .instances
            .iter()
            .find(|instance| instance.id == id)
            .cloned()
    }

    pub async fn until(
        &self,
        what: &str,
        id: InstanceId,
        is: impl Fn(&InstanceReport) -> bool,
    ) -> InstanceReport {
        let seen = || format!("{what}; instead: {:?}", self.report(id));
        until(seen, async || self.report(id).filter(|report| is(report))).await
    }

    /// Until it takes requests; answers its address on the node.
    pub async fn ready(&self, item: &InstanceItem) -> SocketAddr {
        let report = self.until("ready", item.id, |report| report.ready).await;
        assert_eq!(report.state, State::Running);
        report.address.unwrap()
    }

    pub async fn problem(&self, item: &InstanceItem, code: &str) -> String {
        let has = |report: &InstanceReport| {
            report
                .problem
                .as_ref()
                .is_some_and(|problem| problem.code == code)
        };
        self.until(code, item.id, has)
            .await
            .problem
            .unwrap()
            .message
    }
}

/// What a service named `web` that answers on port 8080 looks like.
pub fn web(image: &str, environment_id: EnvironmentId) -> InstanceItem {
    let probe = Probe {
        path: Some("/".to_owned()),
        interval: Span::seconds(1),
        timeout: Span::seconds(2),
        failures: 3,
    };
    InstanceItem {
        id: InstanceId::new(),
        desired: Wish::Run,
        organization_id: OrganizationId::new(),
        environment_id,
        service_id: ServiceId::new(),
        service_name: "web".parse().unwrap(),
        release_id: ReleaseId::new(),
        deployment_id: DeploymentId::new(),
        image: image.to_owned(),
        command: None,
        environment: [
            ("PORT".parse().unwrap(), Value::Literal("8080".to_owned())),
            (
                "SECRET".parse().unwrap(),
                Value::Secret(SecretRef {
                    key: "variable/one".to_owned(),
                    version: 1,
                }),
            ),
        ]
        .into(),
        port: Some(8080),
        resources: Resources {
            cpu: MilliCpu(250),
            memory: Bytes::mebibytes(64),
            pids: 64,
        },
        confinement: Confinement::Restricted,
        run: RunMode::Service {
            startup: Some(Probe {
                failures: 30,
                ..probe.clone()
            }),
            readiness: Some(probe.clone()),
            liveness: Some(probe),
        },
        stop_signal: StopSignal::Sigterm,
        draining: Span::seconds(10),
        traceparent: None,
    }
}

/// The same, but running another command and listening to nothing.
pub fn worker(image: &str, command: &[&str]) -> InstanceItem {
    InstanceItem {
        command: Some(command.iter().map(|part| (*part).to_owned()).collect()),
        port: None,
        run: RunMode::Service {
            startup: None,
            readiness: None,
            liveness: None,
        },
        ..web(image, EnvironmentId::new())
    }
}

/// The same, but once.
pub fn once(image: &str, command: &[&str], timeout: Span) -> InstanceItem {
    InstanceItem {
        run: RunMode::Once { timeout },
        ..worker(image, command)
    }
}
