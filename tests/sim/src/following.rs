//! Nodes connect to replicas, take what comes, and try again.

use control_plane::store::feed::Following;
use domain::generation::{Epoch, Generation};
use link::follow::Received;
use protocol::feed::{Commit, FeedName};

use crate::{
    clock::{Millis, SECOND},
    control::Ask,
    fault::Fault,
    feeds,
    follow::Connection,
    network::Peer,
    trace::Note,
    world::{Event, World},
};

/// Longer silence is a broken line (`link::follow`).
const IDLE_TIMEOUT: Millis = 25 * SECOND;

impl World {
    /// The connection that a running node has for a feed.
    fn connection_mut(&mut self, peer: Peer, feed: &FeedName) -> Option<&mut Option<Connection>> {
        match peer {
            Peer::Agent(node) => {
                let agent = self.nodes.get_mut(node)?.agent.as_mut()?;
                Some(&mut agent.feed.connection)
            }
            Peer::Edge(edge) => {
                let edge = self.edges.get_mut(edge)?.edge.as_mut()?;
                if matches!(feed, FeedName::GlobalRoutes(_)) {
                    Some(&mut edge.global.connection)
                } else {
                    Some(&mut edge.routes.connection)
                }
            }
            Peer::Replica(_) => None,
        }
    }

    /// The newest commit that a running node has on disk.
    pub fn applied(&self, peer: Peer, feed: &FeedName) -> Option<Commit> {
        match peer {
            Peer::Agent(node) => self
                .nodes
                .get(node)?
                .agent
                .as_ref()?
                .feed
                .applied()
                .cloned(),
            Peer::Edge(edge) => {
                let edge = self.edges.get(edge)?.edge.as_ref()?;
                if matches!(feed, FeedName::GlobalRoutes(_)) {
                    edge.global.applied().cloned()
                } else {
                    edge.routes.applied().cloned()
                }
            }
            Peer::Replica(_) => None,
        }
    }

    /// The feeds that a node follows.
    #[must_use]
    pub fn feeds_of(&self, peer: Peer) -> Vec<FeedName> {
        match peer {
            Peer::Agent(node) => {
                let node = self.nodes.get(node);
                node.map(|node| FeedName::Node(node.id))
                    .into_iter()
                    .collect()
            }
            Peer::Edge(edge) => self.edges.get(edge).map_or_else(Vec::new, |edge| {
                vec![
                    FeedName::GlobalRoutes(edge.ring),
                    feeds::of_region(&edge.region, edge.ring),
                ]
            }),
            Peer::Replica(_) => Vec::new(),
        }
    }

    /// A node tries to follow a feed.
    pub(crate) fn connect(&mut self, peer: Peer, feed: &FeedName) {
        let replica = self.random.below(self.replicas.len());
        self.connections += 1;
        let connection = Connection {
            replica,
            id: self.connections,
        };
        match self.connection_mut(peer, feed) {
            Some(slot) if slot.is_none() => *slot = Some(connection),
            _ => return,
        }
        let other = Peer::Replica(replica);
        if !self.network.is_open_both_ways(peer, other) || self.network.loses(&mut self.random) {
            self.break_later(peer, feed.clone(), connection, 5 * SECOND);
            return;
        }
        match peer {
            Peer::Agent(node) => {
                if let Some(agent) = self.nodes[node].agent.as_mut() {
                    agent.feed.connected();
                }
            }
            Peer::Edge(edge) => {
                if let Some(edge) = self.edges[edge].edge.as_mut() {
                    if matches!(feed, FeedName::GlobalRoutes(_)) {
                        edge.global.connected();
                    } else {
                        edge.routes.connected();
                    }
                }
            }
            Peer::Replica(_) => {}
        }
        let shown = self.applied(peer, feed);
        let following = shown.as_ref().map_or(
            Following {
                epoch: Epoch(0),
                after: Generation(0),
            },
            |commit| Following {
                epoch: commit.epoch,
                after: commit.generation,
            },
        );
        let ask = Ask {
            peer,
            feed: feed.clone(),
            connection,
            following,
            shown,
        };
        let delay = self.network.delay(&mut self.random);
        self.after(delay, Event::Asked(Box::new(ask)));
    }

    /// A node will learn that its connection is gone.
    pub(crate) fn break_later(
        &mut self,
        peer: Peer,
        feed: FeedName,
        connection: Connection,
        delay: Millis,
    ) {
        self.after(delay, Event::Broken(peer, feed, connection));
    }

    /// It learns so, and tries again after a while.
    pub(crate) fn broken(&mut self, peer: Peer, feed: &FeedName, connection: Connection) {
        match self.connection_mut(peer, feed) {
            Some(slot) if *slot == Some(connection) => *slot = None,
            _ => return,
        }
        // The backoff is at its longest soon when nobody answers.
        let pause = if self.outage {
            self.random.between(5 * SECOND, 10 * SECOND)
        } else {
            self.random.between(200, 4 * SECOND)
        };
        self.after(pause, Event::Connect(peer, feed.clone()));
    }

    /// Nothing came for too long, if the line is still cut.
    pub(crate) fn silent(&mut self, peer: Peer, feed: FeedName, connection: Connection) {
        let other = Peer::Replica(connection.replica);
        if !self.network.is_open_both_ways(peer, other) {
            self.broken(peer, &feed, connection);
        }
    }

    /// Every connection that crosses a cut will be found silent.
    pub(crate) fn lines_cut(&mut self) {
        let peers: Vec<Peer> = self.peers.values().copied().collect();
        for peer in peers {
            for feed in self.feeds_of(peer) {
                let Some(Some(connection)) = self.connection_mut(peer, &feed).copied() else {
                    continue;
                };
                let other = Peer::Replica(connection.replica);
                if !self.network.is_open_both_ways(peer, other) {
                    self.after(IDLE_TIMEOUT, Event::Silent(peer, feed, connection));
                }
            }
        }
    }

    /// A piece of a stream arrives.
    pub(crate) fn stream(
        &mut self,
        peer: Peer,
        feed: &FeedName,
        connection: Connection,
        lines: &str,
    ) {
        let current = self.connection_mut(peer, feed).copied().flatten();
        if current != Some(connection) {
            let line = (peer, feed.clone(), connection.id);
            self.replicas[connection.replica].streams.remove(&line);
            return;
        }
        if !self
            .network
            .is_open(Peer::Replica(connection.replica), peer)
        {
            self.lost_piece(peer, feed, connection);
            return;
        }
        let fault = self.fault;
        let before = self.applied(peer, feed);
        let received = match peer {
            Peer::Agent(node) => {
                let agent = self.nodes[node].agent.as_mut();
                agent.map(|agent| agent.feed.receive(lines, fault))
            }
            Peer::Edge(edge) => self.edges[edge].edge.as_mut().map(|edge| {
                if matches!(feed, FeedName::GlobalRoutes(_)) {
                    edge.global.receive(lines, fault)
                } else {
                    edge.routes.receive(lines, fault)
                }
            }),
            Peer::Replica(_) => None,
        };
        match received {
            None => {}
            Some(Ok(received)) => self.received(peer, feed, connection, received, before),
            Some(Err(error)) => {
                self.note(Note::Refused(peer, error.to_string()));
                self.broken(peer, feed, connection);
            }
        }
    }

    /// Nothing that follows on this connection can be understood.
    fn lost_piece(&mut self, peer: Peer, feed: &FeedName, connection: Connection) {
        self.connections += 1;
        let dead = Connection {
            replica: connection.replica,
            id: self.connections,
        };
        if let Some(slot) = self.connection_mut(peer, feed) {
            *slot = Some(dead);
        }
        self.break_later(peer, feed.clone(), dead, IDLE_TIMEOUT);
    }

    fn received(
        &mut self,
        peer: Peer,
        feed: &FeedName,
        connection: Connection,
        received: Received,
        before: Option<Commit>,
    ) {
        let Some(commit) = self.applied(peer, feed) else {
            return;
        };
        let is_new = before.is_none_or(|before| before != commit);
        if is_new {
            self.note(Note::Commit(peer, feed.to_string(), commit.position()));
        }
        if received.wants_full {
            self.broken(peer, feed, connection);
        }
        match peer {
            Peer::Agent(node) => self.document_came(node),
            Peer::Edge(edge) if is_new => {
                if self.fault == Some(Fault::AcknowledgeBeforeApply) {
                    self.acknowledge_early(edge);
                }
                self.routes_came(edge);
            }
            Peer::Edge(_) | Peer::Replica(_) => {}
        }
    }
}
