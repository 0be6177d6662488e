//! Puts the parts together: from listeners, an identity and feeds to a serving edge.

use std::{path::PathBuf, sync::Arc};

use domain::id::ServiceId;
use link::{identity::Identity, writing::Writing};
use prometheus::Registry;
use proxy_protocol::TrustedProxies;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    access_log::{self, AccessLog},
    drain::Drain,
    feeds::{Applied, Applier, Feeds},
    forward::{
        accept::{self as tunnels, Tunnels},
        link::Links,
        measure,
    },
    geo::Databases,
    limit::{InvalidUrl, Shared, Worker},
    listen::{
        accept::{self, Front},
        connection::Server,
        per_address::PerAddress,
    },
    metrics::Metrics,
    observe::Observer,
    proxy,
    state::State,
    tls::Tickets,
    upstream::{
        confirm,
        discover::{self, Agents},
        health,
        memory::Memory,
    },
};

/// What an edge is made of.
pub struct Parts {
    /// Who it is.
    pub identity: Identity,
    /// What it follows.
    pub feeds: Feeds,
    /// What it could use before.
    pub memory: Memory,
    /// Who writes what it can use.
    pub writing: Writing,
    /// Absent: standard output.
    pub access_log: Option<PathBuf>,
    /// Open connections that one address may have.
    pub connections_per_address: usize,
    /// Who says for others who they are.
    pub trusted_proxies: TrustedProxies,
    /// Where edges count rate limits together; absent: each goes by its share.
    pub limit_redis: Option<SecretString>,
    /// Files that say where addresses are.
    pub geo_databases: Vec<PathBuf>,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// Bound listeners.
#[derive(Debug)]
pub struct Ports {
    /// Plain HTTP.
    pub http: TcpListener,
    /// HTTPS.
    pub https: TcpListener,
    /// mTLS for other edges.
    pub forward: TcpListener,
}

/// Why an edge can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] access_log::Error),
    /// Metrics.
    #[error("registering metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// TLS.
    #[error("preparing TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Rate limits.
    #[error(transparent)]
    Redis(#[from] InvalidUrl),
}

/// A serving edge. Dropping it ends its background work at once.
#[derive(Debug)]
pub struct Running {
    /// What it serves by.
    pub state: Arc<State>,
    /// Ends it.
    pub drain: Drain,
    /// What its report acknowledges.
    pub applied: watch::Receiver<Applied>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Resolves when a part of the edge is broken by a bug: only a restart brings it back.
    pub async fn broken(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                Some(Ok(())) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// An edge that knows its routes and answers nobody yet.
pub struct Prepared {
    /// What it will serve by.
    pub state: Arc<State>,
    applier: Applier,
    front: Arc<Front>,
    links: Arc<Links>,
    tunnels: Arc<Tunnels>,
    tunnel_acceptor: TlsAcceptor,
    agents: Arc<Agents>,
    wanted: mpsc::Receiver<ServiceId>,
    memory: Arc<Memory>,
    writing: Writing,
    leases: Option<Worker>,
    databases: Databases,
}

/// Reads what the feeds have now.
///
/// # Errors
/// [`Error`].
pub fn prepare(parts: Parts) -> Result<Prepared, Error> {
    let metrics = Arc::new(Metrics::new(&parts.registry)?);
    let identity = &parts.identity;
    let (state, wanted) = State::new(identity.node_id(), identity.region(), Arc::clone(&metrics));
    let leases = share_limits(&state, parts.limit_redis.as_ref())?;
    let mut databases = Databases::new(&parts.geo_databases);
    databases.refresh(&metrics);
    databases.publish(&state.geo);
    let memory = Arc::new(parts.memory);
    let applier = Applier::start(Arc::clone(&state), parts.feeds, Tickets::new()?, &memory);
    let observer = Arc::new(Observer {
        log: AccessLog::start(parts.access_log.as_deref(), metrics.log_dropped())?,
        metrics,
        region: identity.region(),
    });
    let links = Arc::new(Links::new(identity.clone()));
    let server = server(&state, observer, Arc::clone(&links));
    let tunnels = Arc::new(Tunnels {
        server: server.clone(),
        state: Arc::clone(&state),
        denied: identity.denied().clone(),
    });
    let front = Arc::new(Front {
        server,
        state: Arc::clone(&state),
        per_address: Arc::new(PerAddress::new(parts.connections_per_address)),
        trusted_proxies: parts.trusted_proxies,
    });
    Ok(Prepared {
        state,
        applier,
        front,
        links,
        tunnels,
        tunnel_acceptor: tunnels::acceptor(identity)?,
        agents: Arc::new(Agents::new(identity.clone())),
        wanted,
        memory,
        writing: parts.writing,
        leases,
        databases,
    })
}

/// What fetches leases, where edges count together.
fn share_limits(state: &State, redis: Option<&SecretString>) -> Result<Option<Worker>, InvalidUrl> {
    let Some(url) = redis else {
        return Ok(None);
    };
    let (shared, worker) = Shared::new(url.expose_secret(), &state.metrics)?;
    state.limits.share(shared);
    Ok(Some(worker))
}

impl Prepared {
    /// Serves from now on.
    #[must_use]
    pub fn serve(self, ports: Ports) -> Running {
        let state = self.state;
        let (applied, applied_changes) = watch::channel(Applied::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(self.applier.run(applied));
        tasks.spawn(health::run(Arc::clone(&state)));
        tasks.spawn(confirm::run(Arc::clone(&state), Arc::clone(&self.agents)));
        tasks.spawn(self.memory.run(Arc::clone(&state), self.writing));
        tasks.spawn(discover::run(Arc::clone(&state), self.agents, self.wanted));
        tasks.spawn(measure::run(Arc::clone(&state), self.links));
        if let Some(leases) = self.leases {
            tasks.spawn(leases.run(state.limits.leases(), Arc::clone(&state.metrics)));
        }
        tasks.spawn(self.databases.run(Arc::clone(&state)));
        let tunnels = tunnels::run(ports.forward, self.tunnel_acceptor, self.tunnels);
        tasks.spawn(tunnels);
        let drain = self.front.server.drain.clone();
        tasks.spawn(accept::run(ports.http, Arc::clone(&self.front)));
        tasks.spawn(accept::run(ports.https, self.front));
        Running {
            state,
            drain,
            applied: applied_changes,
            tasks,
        }
    }
}

fn server(state: &Arc<State>, observer: Arc<Observer>, links: Arc<Links>) -> Server {
    let drain = Drain::default();
    let proxy = proxy::http_proxy(
        Arc::clone(state),
        Arc::clone(&observer),
        links,
        drain.clone(),
    );
    Server {
        proxy,
        drain,
        observer,
    }
}
