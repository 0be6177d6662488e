//! Nodes report: at their interval, and at once when something changed.

use control_plane::store::route::Positions;
use protocol::{
    feed::Commit,
    report::{Report, RoleReport},
};

use crate::{
    clock::{Millis, SECOND},
    edge,
    network::Peer,
    node,
    world::{Event, World},
};

/// Of a node that has something to tell.
const INTERVAL: Millis = 5 * SECOND;
/// Of an agent without instances; the longest that a node may wait.
const INTERVAL_IDLE: Millis = 15 * SECOND;
/// Changes that come together are reported together.
const GATHER: Millis = 20;

impl World {
    /// Which start of its process a node is in.
    #[must_use]
    pub(crate) fn boot_of(&self, peer: Peer) -> Option<u64> {
        match peer {
            Peer::Agent(node) => self.nodes.get(node)?.agent.as_ref().map(|agent| agent.boot),
            Peer::Edge(edge) => self.edges.get(edge)?.edge.as_ref().map(|edge| edge.boot),
            Peer::Replica(_) => None,
        }
    }

    /// Something changed on a node.
    pub(crate) fn report_soon(&mut self, peer: Peer) {
        if let Some(boot) = self.boot_of(peer) {
            self.after(GATHER, Event::ReportDue(peer, boot, false));
        }
    }

    /// A node's process reports.
    pub(crate) fn report_due(&mut self, peer: Peer, boot: u64, timer: bool) {
        if self.boot_of(peer) != Some(boot) {
            return;
        }
        if timer {
            let interval = self.interval_of(peer);
            self.after(interval, Event::ReportDue(peer, boot, true));
        }
        let replica = self.random.below(self.replicas.len());
        let lost = self.network.loses(&mut self.random);
        let Some(report) = self.make_report(peer) else {
            return;
        };
        if lost || !self.network.is_open(peer, Peer::Replica(replica)) {
            return;
        }
        if self.network.duplicates(&mut self.random) {
            let delay = self.random.between(1, 3 * SECOND);
            let again = Box::new(report.clone());
            self.after(delay, Event::Report(replica, peer, again));
        }
        let delay = self.network.delay(&mut self.random);
        self.after(delay, Event::Report(replica, peer, Box::new(report)));
    }

    fn interval_of(&self, peer: Peer) -> Millis {
        match peer {
            Peer::Agent(node) if self.nodes[node].containers.is_empty() => INTERVAL_IDLE,
            _ => INTERVAL,
        }
    }

    fn make_report(&mut self, peer: Peer) -> Option<Report> {
        let (boot, sequence, feeds, role) = match peer {
            Peer::Agent(index) => {
                let node = self.nodes.get_mut(index)?;
                let agent = node.agent.as_mut()?;
                agent.sequence += 1;
                let feeds = vec![(agent.feed.applied().cloned(), agent.feed.held())];
                let (boot, sequence) = (agent.boot, agent.sequence);
                let node = self.nodes.get(index)?;
                let role = node::role_report(node, node.agent.as_ref()?);
                (boot, sequence, feeds, role)
            }
            Peer::Edge(index) => {
                let role = edge::role_report(self.edges.get(index)?);
                let edge = self.edges.get_mut(index)?.edge.as_mut()?;
                edge.sequence += 1;
                let (global, region) = edge.acknowledged.clone();
                let feeds = vec![(global, edge.global.held()), (region, edge.routes.held())];
                (edge.boot, edge.sequence, feeds, role)
            }
            Peer::Replica(_) => return None,
        };
        Some(report(boot, sequence, feeds, role))
    }

    /// The answer to a report: a node that is behind and has no stream hurries.
    pub(crate) fn answered(&mut self, peer: Peer, boot: &str, answer: Option<Positions>) {
        let is_current = self.boot_of(peer).is_some_and(|now| boot_id(now) == boot);
        let Some(positions) = answer.filter(|_| is_current) else {
            return;
        };
        self.renew_certificate(peer);
        for (feed, position) in positions {
            let applied = self.applied(peer, &feed).map(|commit| commit.position());
            if Some(position) > applied {
                self.connect(peer, &feed);
            }
        }
    }
}

/// Of each feed the commit that the node works by, and how many items it keeps that the feed lacks.
type Feeds = Vec<(Option<Commit>, u64)>;

fn report(boot: u64, sequence: u64, feeds: Feeds, role: RoleReport) -> Report {
    let feeds: Vec<(Commit, u64)> = feeds
        .into_iter()
        .filter_map(|(commit, held)| Some((commit?, held)))
        .collect();
    let held = feeds.iter().filter(|(_, held)| *held > 0);
    let held = held.map(|(commit, held)| (commit.feed.clone(), *held));
    Report {
        boot_id: boot_id(boot),
        sequence,
        version: "simulated".to_owned(),
        held: held.collect(),
        feeds: feeds.into_iter().map(|(commit, _)| commit).collect(),
        role,
    }
}

fn boot_id(boot: u64) -> String {
    format!("boot-{boot}")
}
