//! Active probes of all confirmed endpoints: new ones at once, dead ones often, healthy ones every few seconds. Those
//! that let a probe wait are probed in a lane of their own: however many they are, no other waits for them.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};

use super::{
    endpoint::{Endpoint, Health},
    pass::Pace,
    probe::Probe,
};
use crate::state::State;

const INTERVAL: Duration = Duration::from_secs(5);
const INTERVAL_DOWN: Duration = Duration::from_millis(500);
/// Probes of one lane that run at the same time.
const PLACES: usize = 256;

/// Probes the endpoints of the current table, for as long as the edge lives.
pub async fn run(state: Arc<State>) {
    let (mut pace, ended) = (Pace::start(), Arc::new(Notify::new()));
    let (mut quick, mut slow) = (Lane::default(), Lane::default());
    loop {
        tokio::select! {
            () = pace.next(&state.probe_wanted) => {
                let now = Instant::now();
                for probe in due(&state, now) {
                    let lane = if probe.endpoint.is_slow() { &mut slow } else { &mut quick };
                    lane.waiting.push_back(probe);
                }
                pace.passed(now.elapsed());
            }
            () = ended.notified() => {}
        }
        quick.begin(&state, &ended);
        slow.begin(&state, &ended);
    }
}

fn due(state: &State, now: Instant) -> impl Iterator<Item = Probe> {
    let endpoints = state.routes.load().watched(|endpoint| {
        endpoint.is_probed() && endpoint.take_probe(interval_of(endpoint), now)
    });
    endpoints
        .into_iter()
        .map(|(pool, endpoint)| Probe { pool, endpoint })
}

/// An endpoint waits in it once at most, and gets its turn: so it is never longer than the table.
#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Probe>,
    places: Arc<Semaphore>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }
}

impl Lane {
    /// Begins as many probes as there are places; each says when it has ended.
    fn begin(&mut self, state: &Arc<State>, ended: &Arc<Notify>) {
        while !self.waiting.is_empty()
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            && let Some(probe) = self.waiting.pop_front()
        {
            let (state, ended) = (Arc::clone(state), Arc::clone(ended));
            tokio::spawn(async move {
                if probe.run().await {
                    state.endpoints_changed();
                }
                drop(place);
                ended.notify_one();
            });
        }
    }
}

fn interval_of(endpoint: &Endpoint) -> Duration {
    match endpoint.health() {
        Health::Up => INTERVAL,
        Health::Unknown | Health::Down => INTERVAL_DOWN,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use domain::id::{DeploymentId, InstanceId, NodeId, ServiceId};
    use prometheus::Registry;
    use protocol::item::{self, RegionRouteItem, ServiceItem, ServicePolicy};
    use testkit::wait;

    use super::*;
    use crate::{metrics::Metrics, route::RouteTable, upstream::counters::Counters};

    fn service(address: SocketAddr, endpoints: usize) -> RegionRouteItem {
        let endpoint = |_| item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address,
        };
        RegionRouteItem::Service(ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints: (0..endpoints).map(endpoint).collect(),
            health_path: Some("/health".to_owned()),
            traceparent: None,
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        })
    }

    fn route(state: &State, services: &[&RegionRouteItem]) {
        let before = state.routes.load();
        let table = RouteTable::build(&[], services, &before, &Counters::default());
        for (_, endpoint) in table.watched(|_| true) {
            endpoint.confirm(true);
        }
        state.routes.store(Arc::new(table));
        state.probe_wanted.notify_one();
    }

    /// Nobody takes its connections.
    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn however_many_are_silent_another_is_probed_at_once() {
        let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
        let (state, _wanted) = State::new(NodeId::new(), "eu-west".parse().unwrap(), metrics);
        let (silent_listener, silent) = listener();
        let silent = service(silent, PLACES * 2);
        route(&state, &[&silent]);
        for (_, endpoint) in state.routes.load().watched(|_| true) {
            endpoint.probe_ended(Duration::from_secs(3));
        }
        let running = tokio::spawn(run(Arc::clone(&state)));
        // Sooner than a probe of those that are silent ends.
        let soon = Duration::from_secs(2);
        wait::until(soon, async || silent_listener.accept().is_ok()).await;

        let (fresh_listener, fresh) = listener();
        route(&state, &[&silent, &service(fresh, 1)]);
        wait::until(soon, async || fresh_listener.accept().is_ok()).await;
        running.abort();
    }
}
