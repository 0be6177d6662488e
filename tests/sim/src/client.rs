//! Requests through edges, as the real table decides them.

use domain::{
    id::{InstanceId, ServiceId},
    spec::{ServiceKind, Strategy},
};
use edge_proxy::{
    decide::Decision,
    traffic::Outcome,
    upstream::endpoint::{Endpoint, Failure},
};

use crate::{
    clock::{self, SECOND},
    invariant::Invariant,
    network::Peer,
    rendering::Quality,
    trace::Note,
    world::{Event, World},
};

/// Instances that a request tries.
const ATTEMPTS: usize = 3;

impl World {
    /// Somebody sends a request to a service through an edge.
    pub(crate) fn request(&mut self) {
        let pause = self.random.between(200, SECOND);
        // Days have seconds enough; a move is over in one.
        let pause = match (self.outage, self.weather.often) {
            (true, _) => 10 * pause,
            (false, true) => pause / 30,
            (false, false) => pause,
        };
        self.after(pause, Event::Request);
        let web: Vec<ServiceId> = self
            .tables
            .services
            .values()
            .filter(|row| !row.deleted && row.active && row.spec.kind == ServiceKind::Web)
            .map(|row| row.id)
            .collect();
        let edge = self.random.below(self.edges.len());
        let Some(service) = self.random.pick(&web).copied() else {
            return;
        };
        if self.edges[edge].edge.is_none() {
            return;
        }
        let served = self.send(edge, service);
        self.count(edge, service, served.is_some());
        self.note(Note::Request(edge, service, served));
        match served {
            Some(_) => {
                self.answered += 1;
                self.away.0 += u64::from(self.outage);
                // Before its first deployment is adopted, some edges know it and others don't.
                let row = self.tables.service(service);
                if row.is_some_and(|row| row.current.is_some()) {
                    self.established.insert(service);
                }
            }
            None => self.not_answered(edge, service),
        }
    }

    fn not_answered(&mut self, edge: usize, service: ServiceId) {
        if !self.established.contains(&service) {
            return;
        }
        self.failed += 1;
        let row = self.tables.services.get(&service);
        let rolls = row.is_some_and(|row| row.spec.deploy.strategy == Strategy::Rolling);
        self.away.1 += u64::from(self.outage && rolls);
        let calm = self.weather.is_calm() && self.healed.is_none();
        if rolls && calm && !self.is_badly_rendered() {
            let what = format!("{service} did not answer through edge {edge}");
            self.checker.broken(Invariant::Availability, what);
        }
    }

    /// What the edge counts of a request, for its report.
    fn count(&self, index: usize, service: ServiceId, served: bool) {
        let host = self.tables.services.get(&service).map(|row| &row.hostname);
        let Some((edge, host)) = self.edges[index].edge.as_ref().zip(host) else {
            return;
        };
        let outcome = match edge.decide(host) {
            _ if served => Outcome::Answered,
            Decision::Serve(_) => Outcome::Failed,
            _ => Outcome::Unrouted,
        };
        edge.traffic.record(outcome);
    }

    /// Whether some edge works by a version that nobody can use: requests find that out, also those that others
    /// forward to it.
    fn is_badly_rendered(&self) -> bool {
        let running = self.edges.iter().filter_map(|edge| edge.edge.as_ref());
        let mut newest = running.filter_map(|edge| Some(edge.versions()?.1));
        newest.any(|version| Quality::of(version) != Quality::Good)
    }

    fn send(&mut self, index: usize, service: ServiceId) -> Option<InstanceId> {
        if !self.is_accepted_by_users() {
            return None;
        }
        let host = self.tables.services.get(&service)?.hostname.clone();
        let Decision::Serve(route) = self.edges[index].edge.as_ref()?.decide(&host) else {
            return None;
        };
        if route.service_id != service {
            let what = format!("{host} leads to {}", route.service_id);
            self.checker.broken(Invariant::Foreign, what);
        }
        if let Some(served) = self.try_here(index, service) {
            return Some(served);
        }
        let others = self.edges.iter();
        let others: Vec<usize> = others
            .filter(|edge| edge.index != index && edge.edge.is_some())
            .filter(|edge| route.regions.contains(&edge.region))
            .filter(|edge| edge.region != self.edges[index].region)
            .map(|edge| edge.index)
            .collect();
        others.into_iter().find_map(|other| {
            let linked = self.can_link(Peer::Edge(index), Peer::Edge(other));
            linked.then(|| self.try_here(other, service)).flatten()
        })
    }

    fn try_here(&mut self, index: usize, service: ServiceId) -> Option<InstanceId> {
        let mut tried = Vec::new();
        for _ in 0..ATTEMPTS {
            let edge = self.edges[index].edge.as_ref()?;
            let choices = edge.choices(service, &tried, self.now);
            let endpoint = self.random.pick(&choices)?.clone();
            let spec = endpoint.spec;
            tried.push(spec.instance_id);
            if self.answers(index, &endpoint) {
                self.check_container(service, &endpoint);
                endpoint.request_succeeded(false);
                return Some(spec.instance_id);
            }
            let edge = self.edges[index].edge.as_ref()?;
            if let Some(pool) = edge.table.service(service) {
                let now = clock::instant(self.now);
                pool.record_failure(&endpoint, Failure::Connect, false, now);
            }
        }
        None
    }

    fn check_container(&mut self, service: ServiceId, endpoint: &Endpoint) {
        let node = self.index_of(endpoint.spec.node_id);
        let container = self
            .nodes
            .get(node)
            .and_then(|n| n.at(endpoint.spec.address));
        let Some(labels) = container.map(|container| container.seen.labels) else {
            return;
        };
        if labels.service != service {
            let what = format!("a request for {service} reached {}", labels.service);
            self.checker.broken(Invariant::Foreign, what);
        }
    }
}
