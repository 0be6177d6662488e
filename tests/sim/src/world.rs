//! Everything that there is, and what happens next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent::reconcile::Action;
use chrono::{DateTime, Utc};
use control_plane::store::route::Positions;
use domain::{
    generation::Epoch,
    id::{InstanceId, NodeId, ServiceId},
};
use protocol::{
    feed::{
        FeedName,
        signature::{FeedKeys, Signer},
    },
    item::InstanceItem,
    report::Report,
};

use crate::{
    certificates::Certificates,
    chaos::Blow,
    clock::Millis,
    control::{Ask, Prepared, Replica, Task},
    edge::EdgeNode,
    fault::Fault,
    follow::Connection,
    invariant::Checker,
    network::{Network, Peer},
    node::{Node, Program},
    queue::Queue,
    random::Random,
    table::Tables,
    tenant::Intents,
    trace::{Note, Trace},
};

/// Something that happens at a moment.
#[derive(Debug)]
pub enum Event {
    /// A reconciler's turn on a replica (of this boot), by its timer or by a wake-up.
    Turn(usize, u64, Task, bool),
    /// A turn's transaction, begun at this time, ends.
    Commit(usize, u64, Prepared, Millis),
    /// A replica hears that a feed may have changed.
    Push(usize, u64, FeedName),
    /// A node tries to follow a feed.
    Connect(Peer, FeedName),
    /// Its request arrives.
    Asked(Box<Ask>),
    /// A piece of a stream arrives.
    Stream {
        peer: Peer,
        feed: FeedName,
        connection: Connection,
        lines: String,
    },
    /// A node learns that its connection is gone.
    Broken(Peer, FeedName, Connection),
    /// A node has heard nothing for too long, if the line is still cut.
    Silent(Peer, FeedName, Connection),
    /// A node's process (of this boot) reports; by its timer, or because something changed.
    ReportDue(Peer, u64, bool),
    /// A report arrives at a replica.
    Report(usize, Peer, Box<Report>),
    /// Its answer arrives.
    Answer(Peer, String, Option<Positions>),
    /// An agent decides again.
    Wake(usize, u64, Millis),
    /// An action on a container ends.
    Done(usize, u64, Action, Option<Arc<InstanceItem>>),
    /// A build ends, if it is still that run.
    Built(usize, u64, u64),
    /// A program ends, if it is still that run.
    Exit(usize, InstanceId, DateTime<Utc>, i64),
    /// A probe's verdict.
    Probe(usize, u64, InstanceId, DateTime<Utc>),
    /// An edge swaps its newest routes in.
    Apply(usize, u64),
    /// An edge asks agents, and probes.
    Look(usize, u64, Millis),
    /// Somebody sends a request.
    Request,
    /// A tenant or an operator wants something.
    Want,
    /// Something breaks.
    Blow(Blow),
    /// The next thing shall break.
    NextBlow,
    /// Everything is mended; from now on nothing breaks.
    Heal,
    /// Whether everything has come to rest.
    Rest,
}

/// The database server.
#[derive(Debug)]
pub struct Database {
    pub up: bool,
    /// Connections of before are gone.
    pub since: Millis,
    /// What the standby, or the backup, has.
    pub copy: Option<Copied>,
}

/// The tables as they once were.
#[derive(Debug)]
pub struct Copied {
    pub at: Millis,
    /// What had been acknowledged by then (`Intents::mark`).
    pub acknowledged: usize,
    pub tables: Box<Tables>,
}

/// The simulated world.
#[derive(Debug)]
pub struct World {
    pub now: Millis,
    pub random: Random,
    pub queue: Queue<Event>,
    pub trace: Trace,
    pub network: Network,
    pub tables: Tables,
    pub database: Database,
    pub replicas: Vec<Replica>,
    pub nodes: Vec<Node>,
    pub edges: Vec<EdgeNode>,
    pub peers: BTreeMap<NodeId, Peer>,
    pub programs: BTreeMap<String, Program>,
    pub signer: Arc<Signer>,
    pub keys: FeedKeys,
    pub checker: Checker,
    pub fault: Option<Fault>,
    /// The newest rendering that the program at work knows.
    pub program: i32,
    pub intents: Intents,
    pub weather: crate::chaos::Climate,
    pub connections: u64,
    /// Where a history lasts for longer than they do.
    pub certificates: Option<Certificates>,
    /// A copy of the database went its own way, and nobody has been told from it.
    pub forked: bool,
    /// Everything central is away for days.
    pub outage: bool,
    /// When everything was mended, and when it had come to rest.
    pub healed: Option<Millis>,
    pub rested: Option<Millis>,
    /// Services of which no edge may keep a route that its feed lacks, since this epoch began.
    pub let_go: BTreeMap<ServiceId, Epoch>,
    /// Services that have answered a request.
    pub established: BTreeSet<ServiceId>,
    /// Requests that were answered, and that were not.
    pub answered: u64,
    pub failed: u64,
    /// Rollouts that every ring has, and that were stopped.
    pub finished: u64,
    pub stopped: u64,
    /// Orphans that were taken back.
    pub adopted: u64,
    /// Likewise, while everything central is away; of services that are never without an instance.
    pub away: (u64, u64),
}

impl World {
    /// Takes one thing down.
    pub fn note(&mut self, note: Note) {
        self.trace.note(self.now, note);
    }

    /// Happens later.
    pub fn after(&mut self, delay: Millis, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    /// Which agent a node is.
    #[must_use]
    pub fn index_of(&self, node: NodeId) -> usize {
        match self.peers.get(&node) {
            Some(Peer::Agent(index) | Peer::Edge(index) | Peer::Replica(index)) => *index,
            None => usize::MAX,
        }
    }

    /// The node of an end of a link.
    #[must_use]
    pub fn id_of(&self, peer: Peer) -> Option<NodeId> {
        match peer {
            Peer::Agent(index) => self.nodes.get(index).map(|node| node.id),
            Peer::Edge(index) => self.edges.get(index).map(|edge| edge.id),
            Peer::Replica(_) => None,
        }
    }

    /// The next thing happens; whether there was one before `end`, with every promise kept.
    pub fn step(&mut self, end: Millis) -> bool {
        let Some((at, event)) = self.queue.pop() else {
            return false;
        };
        if at > end || self.rested.is_some() || self.checker.violation().is_some() {
            return false;
        }
        self.now = at;
        self.checker.now = at;
        if !self.fault.is_some_and(Fault::needs_a_clock_that_stands) {
            self.tables.clock = at;
        }
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(replica, boot, ..)
            | Event::Commit(replica, boot, ..)
            | Event::Push(replica, boot, ..) => self.in_process(replica, boot, event),
            Event::Asked(ask) => self.arrive(ask.connection.replica, Event::Asked(ask)),
            Event::Report(replica, ..) => self.arrive(replica, event),
            Event::Connect(peer, feed) => self.connect(peer, &feed),
            Event::Stream {
                peer,
                feed,
                connection,
                lines,
            } => self.stream(peer, &feed, connection, &lines),
            Event::Broken(peer, feed, connection) => self.broken(peer, &feed, connection),
            Event::Silent(peer, feed, connection) => self.silent(peer, feed, connection),
            Event::ReportDue(peer, boot, timer) => self.report_due(peer, boot, timer),
            Event::Answer(peer, boot, answer) => self.answered(peer, &boot, answer),
            Event::Wake(node, boot, at) => self.wake_agent(node, boot, at),
            Event::Done(node, boot, action, item) => self.done(node, boot, action, item),
            Event::Built(node, boot, run) => self.built(node, boot, run),
            Event::Exit(node, id, since, code) => self.exit(node, id, since, code),
            Event::Probe(node, boot, id, since) => self.probe(node, boot, id, since),
            Event::Apply(edge, boot) => self.apply_routes(edge, boot),
            Event::Look(edge, boot, at) => self.look(edge, boot, at),
            Event::Request => self.request(),
            Event::Want => self.want(),
            Event::Blow(blow) => self.blow(blow),
            Event::NextBlow => self.next_blow(),
            Event::Heal => self.heal(),
            Event::Rest => self.rest(),
        }
    }

    /// What belongs to one process of a replica ends with it, and waits while it is stopped.
    fn in_process(&mut self, replica: usize, boot: u64, event: Event) {
        let Some(at) = self.runs(replica, boot) else {
            return;
        };
        if at > self.now {
            let at = at + self.random.between(1, 50);
            self.queue.push(at, event);
            return;
        }
        match event {
            Event::Turn(_, _, task, timer) => self.turn(replica, task, timer),
            Event::Commit(_, _, prepared, begun) => self.commit(replica, prepared, begun),
            Event::Push(_, _, feed) => self.push(replica, &feed),
            _ => {}
        }
    }

    /// What comes over the network meets whatever process there is.
    fn arrive(&mut self, replica: usize, event: Event) {
        let process = &self.replicas[replica];
        if process.up && process.paused_until > self.now {
            let at = process.paused_until + self.random.between(1, 50);
            self.queue.push(at, event);
            return;
        }
        match (event, self.replicas[replica].up) {
            (Event::Asked(ask), true) => self.asked(*ask),
            (Event::Asked(ask), false) => {
                self.break_later(ask.peer, ask.feed, ask.connection, 20);
            }
            (Event::Report(_, peer, report), true) => self.report(replica, peer, &report),
            _ => {}
        }
    }
}
