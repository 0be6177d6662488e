//! Asks agents whether an instance holds its address (DESIGN §5, endpoints). Without a yes nothing
//! is sent there; while an agent can't be reached its last answer stands, also across a restart.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::id::{InstanceId, ServiceId};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{
    discover::Agents,
    endpoint::{Confirmed, Endpoint},
    pass::pause_after,
};
use crate::{route::RouteTable, state::State};

/// Between two questions about one endpoint.
const AGAIN: Duration = Duration::from_millis(500);
/// Questions that run at the same time.
const CONCURRENCY: usize = 64;

/// Asks for as long as the edge lives.
pub async fn run(state: Arc<State>, agents: Arc<Agents>, memory: Memory) {
    let mut pause = Duration::ZERO;
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = state.confirm_wanted.notified() => {}
        }
        let mut changed = false;
        while let Some(answered) = asking.try_join_next() {
            changed |= answered.unwrap_or(true);
        }
        let routes = state.routes.load_full();
        if changed {
            memory.keep(&routes);
        }
        let (now, mut room) = (Instant::now(), CONCURRENCY - asking.len());
        let due = routes.watched(|endpoint| {
            let asked = room > 0 && endpoint.take_question(AGAIN, now);
            room -= usize::from(asked);
            asked
        });
        pause = pause_after(now.elapsed());
        for (pool, endpoint) in due {
            let (routes, agents) = (Arc::clone(&routes), Arc::clone(&agents));
            let state = Arc::clone(&state);
            asking.spawn(async move {
                let changed = ask(&endpoint, pool.service_id, &routes, &agents).await;
                endpoint.question_ended();
                if changed {
                    state.probe_wanted.notify_one();
                    state.confirm_wanted.notify_one();
                }
                changed
            });
        }
    }
}

/// True when the answer changed something.
async fn ask(
    endpoint: &Endpoint,
    service: ServiceId,
    routes: &RouteTable,
    agents: &Agents,
) -> bool {
    let spec = endpoint.spec;
    let Some(agent) = routes.agent(spec.node_id) else {
        tracing::debug!(node = %spec.node_id, "no agent is known for an endpoint's node");
        return false;
    };
    let answer = agents.confirmation(spec.node_id, agent, spec.instance_id);
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(instance = %spec.instance_id, %error, "an agent did not answer; its last answer stands");
            return false;
        }
    };
    let holds = answer.is_some_and(|c| {
        c.instance_id == spec.instance_id && c.address == spec.address && c.service_id == service
    });
    let changed = endpoint.confirm(holds);
    if changed {
        tracing::info!(instance = %spec.instance_id, address = %spec.address, holds, "an agent answered for an endpoint");
    }
    changed
}

/// Which endpoints were confirmed, on disk.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    confirmed: BTreeSet<(InstanceId, std::net::SocketAddr)>,
}

impl Memory {
    /// In the edge's state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("confirmed-endpoints.json"),
        }
    }

    /// Endpoints that were confirmed before the restart are usable until their agent answers.
    pub fn recall(&self, routes: &RouteTable) {
        let kept: Kept = match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %self.path.display(), "confirmations on disk can't be read; agents are asked");
                Kept::default()
            }),
            Err(_) => return,
        };
        for (_, endpoint) in routes.watched(|_| true) {
            let key = (endpoint.spec.instance_id, endpoint.spec.address);
            if kept.confirmed.contains(&key) {
                endpoint.remember();
            }
        }
    }

    fn keep(&self, routes: &RouteTable) {
        let confirmed = routes.watched(|endpoint| endpoint.confirmed() == Confirmed::Yes);
        let confirmed = confirmed
            .iter()
            .map(|(_, endpoint)| (endpoint.spec.instance_id, endpoint.spec.address))
            .collect();
        if let Err(error) = self.write(&Kept { confirmed }) {
            tracing::warn!(%error, path = %self.path.display(), "keeping confirmations");
        }
    }

    fn write(&self, kept: &Kept) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(kept)?)?;
        std::fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{DeploymentId, NodeId};
    use protocol::item::{self, RegionRouteItem, ServiceItem};

    use crate::upstream::counters::Counters;

    use super::*;

    #[test]
    fn a_restart_remembers_exactly_the_confirmed_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path());
        let spec = |port: u16| item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], port).into(),
        };
        let mut item = ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints: vec![spec(1), spec(2), spec(3)],
            health_path: None,
            traceparent: None,
        };
        let build = |item: &ServiceItem| {
            let item = RegionRouteItem::Service(item.clone());
            RouteTable::build(&[], &[&item], &RouteTable::default(), &Counters::default())
        };
        let before = build(&item);
        let pool = before.service(item.service_id).unwrap();
        let [a, b, _] = pool.endpoints() else {
            panic!()
        };
        a.confirm(true);
        b.confirm(true);
        memory.keep(&before);

        item.endpoints[1].address.set_port(9);
        let after = build(&item);
        memory.recall(&after);
        let pool = after.service(item.service_id).unwrap();
        let confirmed: Vec<_> = pool.endpoints().iter().map(|e| e.confirmed()).collect();
        assert_eq!(
            confirmed,
            [Confirmed::Yes, Confirmed::Unknown, Confirmed::Unknown]
        );
        assert!(
            pool.endpoints()[0].wants_confirmation(),
            "it is asked all the same"
        );
    }
}
