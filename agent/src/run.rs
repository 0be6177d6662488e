//! Puts the agent together. Order: the disk (identity, last document, ledger) → what runs → the
//! agent API for edges → only then the control plane. At the end: what is under way → the disk → a last report.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use link::{Link, follow::Follower, report::Reporter, tls};
use protocol::{feed::FeedName, item::NodeItem, join::Role, report::BuildReport};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    build,
    config::Config,
    desired::{self, Desired},
    garbage::{self, Images},
    health::Prober,
    logs::{self, Logs},
    metrics,
    network::{self, Networks, firewall::Firewall, published},
    ports::Ports,
    reconcile::{self, Observed, Shell},
    report::Sources,
    runtime::{Runtime, docker::Docker},
    secrets::{FeedSecrets, Secrets},
    serve,
    usage::{self, Usages},
};

/// Log lines of containers and builds that a node keeps.
const LOG_BUDGET_BYTES: u64 = 1 << 30;

/// From the word to end until the process has ended, at most.
const ENDS_WITHIN: Duration = Duration::from_secs(7);

/// How far the end has come, once the agent is told to end.
#[derive(Debug, Default)]
struct End {
    /// It is told: nothing more is begun.
    told: CancellationToken,
    /// Nothing is under way any more.
    settled: CancellationToken,
    /// The last report is sent.
    reported: CancellationToken,
}

/// Runs until a task ends that must not, or `shutdown` is done. Containers run on in both cases.
///
/// # Errors
/// When the disk, the node's identity or a listener can't be used.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let link = Link::open(link_config(&config)).await?;
    let node = link.identity().node_id();
    let follower = link.follow::<NodeItem>(FeedName::Node(node))?;
    link::metrics::register(telemetry::metrics::registry(), &link, vec![follower.feed()])
        .context("can't register the link's metrics")?;
    let mut tasks = JoinSet::new();
    let end = End::default();
    let workloads = Workloads::start(&config, &link, &follower, &end, &mut tasks)?;
    let builds = start_builds(&config, &link, &workloads, &mut tasks)?;
    listen(&config, &link, &workloads, &mut tasks).await?;
    let sources = sources(&config, &workloads, builds);
    report(&link, &follower, sources, &end, &mut tasks);
    tasks.spawn(link.renew());
    tasks.spawn(follower.run());
    telemetry::supervisor::ready();
    telemetry::watchdog::spawn();
    tracing::info!(%node, name = %config.name, "the agent runs");
    tokio::select! {
        () = shutdown => {}
        ended = tasks.join_next() => match ended {
            Some(Err(error)) => return Err(error).context("a part of the agent broke off"),
            _ => anyhow::bail!("a part of the agent has ended"),
        },
    }
    end.told.cancel();
    let reported = tokio::time::timeout(ENDS_WITHIN, end.reported.cancelled()).await;
    let reported = reported.is_ok();
    tracing::info!(%node, reported, "the agent ends, containers run on");
    Ok(())
}

fn link_config(config: &Config) -> link::Config {
    link::Config {
        control_plane: config.control_plane.clone(),
        name: config.name.clone(),
        role: Role::Agent,
        state_dir: config.state_dir.clone(),
        node_key_file: None,
        join_token_file: config.join_token_file.clone(),
    }
}

/// Everything about containers.
struct Workloads {
    desired: watch::Receiver<Option<Arc<Desired>>>,
    observed: watch::Receiver<Arc<Observed>>,
    usages: watch::Receiver<Arc<Usages>>,
    secrets: Arc<dyn Secrets>,
    logs: Logs,
    images: Arc<Images>,
    networks: Arc<Networks>,
}

impl Workloads {
    fn start(
        config: &Config,
        link: &Link,
        follower: &Follower<NodeItem>,
        end: &End,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let state_dir = config.state_dir.as_path();
        let runtime: Arc<dyn Runtime> = Arc::new(Docker::new(
            &config.docker.socket,
            link.identity().node_id(),
            &config.network.dns,
        ));
        let firewall = Firewall::new(config.network.denied.clone(), config.network.dns.clone());
        let networks = Arc::new(Networks::new(Arc::clone(&runtime), Box::new(firewall)));
        let images = Arc::new(Images::load(state_dir.join("images.json"))?);
        let secrets: Arc<dyn Secrets> = Arc::new(FeedSecrets(follower.state()));
        let logs = open_logs(state_dir)?;
        let desired = follow_desired(follower, tasks);
        let context = reconcile::Context::new(reconcile::Parts {
            runtime: Arc::clone(&runtime),
            networks: Arc::clone(&networks),
            secrets: Arc::clone(&secrets),
            control_plane: Arc::new(link.client().clone()),
            images: Arc::clone(&images),
            ports: Ports::load(state_dir.join("ports.json"), config.host_ports())?,
            address: config.address,
            registry: config.build.as_ref().map(|build| build.registry.clone()),
        });
        let (shell, observed) = Shell::new(
            Arc::new(context),
            logs.clone(),
            state_dir.join("instances.json"),
            desired.clone(),
            Arc::new(Prober::new().context("can't make the client for probes")?),
        )?;
        let (usages, usage_receiver) = watch::channel(Arc::default());
        let (told, settled) = (end.told.clone(), end.settled.clone().drop_guard());
        tasks.spawn(async move {
            let _settled = settled;
            shell.run(told).await;
        });
        tasks.spawn(network::keep_guarded(
            Arc::clone(&networks),
            observed.clone(),
        ));
        tasks.spawn(published::keep(
            Arc::clone(&networks),
            published::Memory::load(state_dir.join("published-ports.json"))?,
            observed.clone(),
        ));
        tasks.spawn(usage::sample(
            Arc::clone(&runtime),
            observed.clone(),
            usages,
        ));
        tasks.spawn(logs::ship(logs.clone(), Arc::new(link.client().clone())));
        tasks.spawn(garbage::collect(
            runtime,
            Arc::clone(&networks),
            Arc::clone(&images),
            config.garbage.clone(),
            observed.clone(),
        ));
        metrics::register(
            telemetry::metrics::registry(),
            observed.clone(),
            usage_receiver.clone(),
        )
        .context("can't register metrics")?;
        Ok(Self {
            desired,
            observed,
            usages: usage_receiver,
            secrets,
            logs,
            images,
            networks,
        })
    }
}

fn open_logs(state_dir: &Path) -> anyhow::Result<Logs> {
    let folder = state_dir.join("logs");
    let store = logs::Store::open(folder.clone(), LOG_BUDGET_BYTES)
        .with_context(|| format!("can't open the log folder {}", folder.display()))?;
    Ok(Logs::spawn(store))
}

fn follow_desired(
    follower: &Follower<NodeItem>,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<Option<Arc<Desired>>> {
    let state = follower.state();
    let first = Desired::from_state(&state.borrow(), false).map(Arc::new);
    let (sender, receiver) = watch::channel(first);
    tasks.spawn(desired::follow(state, follower.feed().watch(), sender));
    receiver
}

/// The builder, where this node has a build engine.
fn start_builds(
    config: &Config,
    link: &Link,
    workloads: &Workloads,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<watch::Receiver<Vec<BuildReport>>> {
    let Some(settings) = config.build.clone() else {
        let (sender, receiver) = watch::channel(Vec::new());
        tasks.spawn(async move { sender.closed().await });
        return Ok(receiver);
    };
    let dependencies = build::Dependencies {
        control_plane: Arc::new(link.client().clone()),
        logs: Arc::new(workloads.logs.clone()),
        secrets: Arc::clone(&workloads.secrets),
        registry_ca: link.identity().credentials().identity.ca.clone(),
    };
    let (sender, wanted) = watch::channel(wanted_builds(&workloads.desired));
    tasks.spawn(follow_builds(workloads.desired.clone(), sender));
    Ok(build::start(settings, dependencies, wanted)?)
}

async fn follow_builds(
    mut desired: watch::Receiver<Option<Arc<Desired>>>,
    wanted: watch::Sender<build::Wanted>,
) {
    while desired.changed().await.is_ok() {
        desired.mark_unchanged();
        let next = wanted_builds(&desired);
        wanted.send_if_modified(|wanted| {
            let changed = *wanted != next;
            *wanted = next;
            changed
        });
    }
}

fn wanted_builds(desired: &watch::Receiver<Option<Arc<Desired>>>) -> build::Wanted {
    let desired = desired.borrow();
    desired.as_ref().map(|desired| desired.builds.clone())
}

async fn listen(
    config: &Config,
    link: &Link,
    workloads: &Workloads,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let edges = tls::Peers {
        role: Some(Role::Edge),
        ..tls::Peers::default()
    };
    let tls = tls::server_config(link.identity(), edges)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("can't listen on {} (listen in agent.toml)", config.listen))?;
    let denied = link.identity().denied().clone();
    tasks.spawn(serve::serve(
        listener,
        tls,
        denied,
        workloads.observed.clone(),
    ));
    let observed = workloads.observed.clone();
    telemetry::metrics::serve(config.listen_metrics, move || readiness(&observed)).await?;
    Ok(())
}

fn readiness(observed: &watch::Receiver<Arc<Observed>>) -> Result<(), String> {
    if observed.borrow().complete {
        return Ok(());
    }
    Err("the container engine or the node's first document has not been seen yet".to_owned())
}

fn sources(
    config: &Config,
    workloads: &Workloads,
    builds: watch::Receiver<Vec<BuildReport>>,
) -> Sources {
    Sources {
        capacity: config.capacity,
        address: config.listen,
        observed: workloads.observed.clone(),
        usages: workloads.usages.clone(),
        builds,
        desired: workloads.desired.clone(),
        images: Arc::clone(&workloads.images),
        networks: workloads.networks.present(),
    }
}

fn report(
    link: &Link,
    follower: &Follower<NodeItem>,
    sources: Sources,
    end: &End,
    tasks: &mut JoinSet<()>,
) {
    let version = telemetry::BuildInfo::current().version.to_owned();
    let reporter = Reporter::new(link, version, vec![follower.feed()]);
    tasks.spawn(sources.clone().poke(reporter.poke()));
    let (settled, reported) = (end.settled.clone(), end.reported.clone().drop_guard());
    tasks.spawn(async move {
        let _reported = reported;
        let settled = settled.cancelled();
        reporter.run_until(settled, move || sources.report()).await;
    });
}
