//! What happens on edges.

use std::sync::Arc;

use edge_proxy::upstream::endpoint::{Endpoint, Failure, Health};
use protocol::item::RegionRouteItem;

use crate::{
    clock::{self, Millis, SECOND},
    network::Peer,
    trace::Note,
    world::{Event, World},
};

/// Between two questions about one endpoint (`edge_proxy::upstream::confirm`).
const ASK_AGAIN: Millis = 500;
/// Between two probes of one endpoint (`edge_proxy::upstream::health`).
const PROBE: Millis = 5 * SECOND;
const PROBE_DOWN: Millis = 500;

impl World {
    /// An edge's process starts: from disk, then it connects.
    pub(crate) fn start_edge(&mut self, index: usize) {
        let (now, keys) = (self.now, self.keys.clone());
        let node = &mut self.edges[index];
        if node.edge.is_some() {
            return;
        }
        node.start(&keys, now);
        let boot = node.edge.as_ref().map_or(0, |edge| edge.boot);
        self.checker.edge_started(index);
        self.check_rendering(index);
        self.check_routes(index);
        let peer = Peer::Edge(index);
        for feed in self.feeds_of(peer) {
            self.after(1, Event::Connect(peer, feed));
        }
        self.look_at(index, now + 1);
        let spread = self.random.between(1, SECOND);
        self.after(spread, Event::ReportDue(peer, boot, true));
    }

    /// Newer routes are on an edge's disk; they are swapped in a little later.
    pub(crate) fn routes_came(&mut self, index: usize) {
        let slow = self.random.chance(self.weather.edges_slow);
        let delay = if slow {
            self.random.between(300, 3 * SECOND)
        } else {
            self.random.between(1, 15)
        };
        if let Some(boot) = self.boot_of(Peer::Edge(index)) {
            self.after(delay, Event::Apply(index, boot));
        }
    }

    /// The planted mistake: what is verified counts as applied.
    pub(crate) fn acknowledge_early(&mut self, index: usize) {
        if let Some(edge) = self.edges[index].edge.as_mut() {
            let newest = (
                edge.global.applied().cloned(),
                edge.routes.applied().cloned(),
            );
            edge.acknowledged = newest;
        }
        self.report_soon(Peer::Edge(index));
    }

    /// The newest routes are swapped in.
    pub(crate) fn apply_routes(&mut self, index: usize, boot: u64) {
        let now = self.now;
        let node = &mut self.edges[index];
        let edge = node.edge.as_mut();
        let Some(edge) = edge.filter(|edge| edge.boot == boot) else {
            return;
        };
        edge.apply(now);
        self.check_rendering(index);
        self.check_routes(index);
        self.look_at(index, now + 1);
    }

    /// Tells what an edge works by: also after a start, by routes that it had on its disk and did not come to use.
    fn check_rendering(&mut self, index: usize) {
        let node = &self.edges[index];
        let is_left = |item: &RegionRouteItem| self.checker.is_left(&node.region, item);
        let edge = node.edge.as_ref();
        if let Some(edge) = edge
            && let Some(versions) = edge.versions_without(is_left)
        {
            self.checker.works_by(index, versions, edge.has_all());
        }
    }

    /// Routes must not lead to what the plan has stopped.
    fn check_routes(&mut self, index: usize) {
        let Some(edge) = self.edges[index].edge.as_ref() else {
            return;
        };
        for spec in edge.routed() {
            let node = self.nodes.get(self.index_of(spec.node_id));
            let container = node.and_then(|node| node.containers.get(&spec.instance_id));
            if container.is_some_and(|container| container.told_to_stop) {
                self.routed_to_stopped(index, spec.instance_id);
            }
        }
    }

    pub(crate) fn look_at(&mut self, index: usize, at: Millis) {
        let node = &mut self.edges[index];
        if let Some(edge) = node.edge.as_mut() {
            edge.look = Some(at);
            let boot = edge.boot;
            self.queue.push(at, Event::Look(index, boot, at));
        }
    }

    /// An edge asks agents about endpoints, probes them, and acknowledges when it is done.
    pub(crate) fn look(&mut self, index: usize, boot: u64, at: Millis) {
        let now = self.now;
        let Some(edge) = self.edges[index].edge.as_ref() else {
            return;
        };
        if edge.boot != boot || edge.look != Some(at) {
            return;
        }
        let endpoints = edge.endpoints();
        let mut all_up = true;
        for (pool, endpoint) in &endpoints {
            self.ask(index, pool.service_id, endpoint);
            self.probe_endpoint(index, endpoint);
            all_up &= endpoint.is_usable();
        }
        self.edges[index].keep_confirmed();
        let mut settling = false;
        if let Some(edge) = self.edges[index].edge.as_mut() {
            let acknowledges = edge.settle(now);
            settling = edge.is_settling();
            let (global, region) = edge.acknowledged.clone();
            if acknowledges {
                for commit in global.into_iter().chain(region) {
                    let feed = commit.feed.to_string();
                    self.note(Note::Acknowledged(index, feed, commit.position()));
                }
                self.report_soon(Peer::Edge(index));
            }
        }
        let pause = match (settling, all_up) {
            (true, _) => 100,
            (false, false) => 500,
            (false, true) => 2 * SECOND,
        };
        self.look_at(index, now + pause);
    }

    fn ask(&mut self, index: usize, service: domain::id::ServiceId, endpoint: &Arc<Endpoint>) {
        let again = std::time::Duration::from_millis(ASK_AGAIN);
        let Some(asked) = endpoint.take_question(again, clock::instant(self.now)) else {
            return;
        };
        match self.hear(index, service, endpoint) {
            Some(holds) => endpoint.answered(asked, holds),
            None => endpoint.unanswered(asked),
        };
        endpoint.question_ended();
    }

    /// What the agent says, if it can be reached.
    fn hear(
        &mut self,
        index: usize,
        service: domain::id::ServiceId,
        endpoint: &Arc<Endpoint>,
    ) -> Option<bool> {
        let spec = endpoint.spec;
        let node = self.index_of(spec.node_id);
        let edge = self.edges[index].edge.as_ref();
        let known = edge.is_some_and(|edge| edge.table.agent(spec.node_id).is_some());
        let (from, to) = (Peer::Edge(index), Peer::Agent(node));
        let open = known && self.network.is_open_both_ways(from, to);
        if !open || !self.can_link(from, to) {
            return None;
        }
        let answer = self.nodes.get(node)?.confirmation(spec.instance_id)?;
        Some(answer.is_some_and(|c| {
            c.instance_id == spec.instance_id
                && c.address == spec.address
                && c.service_id == service
        }))
    }

    fn probe_endpoint(&self, index: usize, endpoint: &Arc<Endpoint>) {
        let interval = match endpoint.health() {
            Health::Up => PROBE,
            Health::Unknown | Health::Down => PROBE_DOWN,
        };
        let interval = std::time::Duration::from_millis(interval);
        if !endpoint.is_probed() || !endpoint.take_probe(interval, clock::instant(self.now)) {
            return;
        }
        if self.answers(index, endpoint) {
            endpoint.probe_succeeded(endpoint.verdict());
        } else {
            endpoint.probe_failed(Failure::Connect);
        }
        endpoint.probe_ended(std::time::Duration::ZERO);
    }

    /// Whether something answers an edge at an endpoint's address.
    pub(crate) fn answers(&self, edge: usize, endpoint: &Endpoint) -> bool {
        let node = self.index_of(endpoint.spec.node_id);
        let open = self
            .network
            .is_open_both_ways(Peer::Edge(edge), Peer::Agent(node));
        let container = self
            .nodes
            .get(node)
            .and_then(|n| n.at(endpoint.spec.address));
        open && container.is_some_and(|container| container.answers(self.now))
    }
}
