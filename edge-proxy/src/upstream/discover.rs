//! Cut off from the control plane, all endpoints of a service may be dead while its instances live
//! at new addresses: then the agents of this region are asked for that service.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::id::{InstanceId, NodeId, ServiceId};
use futures::future::join_all;
use protocol::{agent_api::Confirmation, item, join::Role};
use tokio::sync::mpsc;

use crate::state::State;

/// Of a confirmation: a handshake takes its time on a busy machine, and asking anew begins another.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of the question for a service's instances, which requests wait for.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two rounds for one service.
const AGAIN: Duration = Duration::from_secs(1);

/// Why an agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS can't be set up.
    #[error("preparing mTLS to agents: {0}")]
    Tls(#[from] rustls::Error),
    /// No answer, or no answer that can be read.
    #[error("asking the agent at {agent}: {source}")]
    Request {
        /// The agent.
        agent: SocketAddr,
        /// Why.
        source: reqwest::Error,
    },
}

/// A client for the agents of this region. Each agent is verified to be the node it is asked as.
#[derive(Debug)]
pub struct Agents {
    identity: link::identity::Identity,
    clients: Arc<Mutex<Clients>>,
}

type Clients = HashMap<NodeId, reqwest::Client>;

impl Agents {
    /// Uses this edge's certificate.
    #[must_use]
    pub fn new(identity: link::identity::Identity) -> Self {
        Self {
            identity,
            clients: Arc::default(),
        }
    }

    fn client(&self, node: NodeId, agent: SocketAddr) -> Result<reqwest::Client, Error> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&node) {
            return Ok(client.clone());
        }
        let peers = link::tls::Peers {
            role: Some(Role::Agent),
            node_id: Some(node),
            ..link::tls::Peers::default()
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(link::tls::client_config(&self.identity, peers)?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .build()
            .map_err(|source| Error::Request { agent, source })?;
        clients.insert(node, client.clone());
        self.forget_when_expelled(node);
        Ok(client)
    }

    /// Its open connections go with the client.
    fn forget_when_expelled(&self, node: NodeId) {
        let (denied, clients) = (self.identity.denied().clone(), Arc::clone(&self.clients));
        tokio::spawn(async move {
            denied.expelled(node).await;
            lock(&clients).remove(&node);
        });
    }

    /// What the agent says about an instance; none when it has no such instance.
    ///
    /// # Errors
    /// When it gave no answer.
    pub async fn confirmation(
        &self,
        node: NodeId,
        agent: SocketAddr,
        instance: InstanceId,
    ) -> Result<Option<Confirmation>, Error> {
        let request = |source| Error::Request { agent, source };
        let url = format!("https://{agent}/agent/v1/instances/{instance}");
        let response = self
            .client(node, agent)?
            .get(url)
            .send()
            .await
            .map_err(request)?;
        if response.status() == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = response.error_for_status().map_err(request)?;
        answer.json().await.map(Some).map_err(request)
    }

    /// The ready instances of a service at one agent.
    ///
    /// # Errors
    /// When it gave no answer.
    pub async fn instances(
        &self,
        node: NodeId,
        agent: SocketAddr,
        service: ServiceId,
    ) -> Result<Vec<Confirmation>, Error> {
        let request = |source| Error::Request { agent, source };
        let url = format!("https://{agent}/agent/v1/services/{service}/instances");
        let response = self
            .client(node, agent)?
            .get(url)
            .timeout(DISCOVERY_TIMEOUT)
            .send()
            .await
            .map_err(request)?;
        let answer = response.error_for_status().map_err(request)?;
        answer.json().await.map_err(request)
    }
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests that found no living endpoint, for as long as the edge lives.
pub async fn run(state: Arc<State>, agents: Arc<Agents>, mut wanted: mpsc::Receiver<ServiceId>) {
    let mut last: HashMap<ServiceId, Instant> = HashMap::new();
    while let Some(service) = wanted.recv().await {
        if !is_due(&mut last, service, Instant::now()) {
            continue;
        }
        let (state, agents) = (Arc::clone(&state), Arc::clone(&agents));
        tokio::spawn(async move { discover(&state, &agents, service).await });
    }
}

/// Whether the last round for this service is long enough ago; then the next begins now.
fn is_due(last: &mut HashMap<ServiceId, Instant>, service: ServiceId, now: Instant) -> bool {
    last.retain(|_, at| now.duration_since(*at) < AGAIN);
    match last.entry(service) {
        Entry::Occupied(_) => false,
        Entry::Vacant(round) => {
            round.insert(now);
            true
        }
    }
}

async fn discover(state: &State, agents: &Agents, service: ServiceId) {
    let routes = state.routes.load_full();
    let asked = routes.agents().map(|(node, agent)| async move {
        let answer = agents.instances(node, agent, service).await;
        (node, answer)
    });
    let (mut named, mut silent) = (HashSet::new(), Vec::new());
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(instances) => named.extend(endpoints(node, service, &instances)),
            Err(error) => {
                tracing::debug!(%node, %error, "an agent did not name its instances; what it named last stands");
                silent.push(node);
            }
        }
    }
    // The table may have changed meanwhile: it belongs into the newest.
    let routes = state.routes.load();
    if let Some(pool) = routes.service(service) {
        let found = pool.set_discovered(named, &silent, Instant::now());
        if found > 0 {
            tracing::info!(%service, count = found, "agents named instances that the routes do not have");
        }
        state.endpoints_changed();
    }
}

/// Those of a service that are ready.
fn endpoints(
    node_id: NodeId,
    service: ServiceId,
    named: &[Confirmation],
) -> impl Iterator<Item = item::Endpoint> {
    let ready = move |c: &&Confirmation| c.ready && c.service_id == service;
    named.iter().filter(ready).map(move |c| item::Endpoint {
        instance_id: c.instance_id,
        node_id,
        address: c.address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_asked_for_all_the_time_gets_a_round_each_second() {
        let (mut last, service, start) = (HashMap::new(), ServiceId::new(), Instant::now());
        let moments = (0..250).map(|n| start + n * Duration::from_millis(10));
        let rounds = moments.filter(|now| is_due(&mut last, service, *now));
        assert_eq!(rounds.count(), 3);
    }
}
