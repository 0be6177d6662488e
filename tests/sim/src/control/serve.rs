//! What nodes call: feeds as streams, reports, and the epoch guard in front of both.

use control_plane::{
    feed::stream,
    store::{feed::Following, route::Positions},
};
use domain::id::NodeId;
use protocol::{
    feed::{Commit, FeedName, writer},
    report::Report,
};

use super::{Line, Stream, Task};
use crate::{
    chaos::Blow,
    clock::SECOND,
    fault::Fault,
    follow::Connection,
    network::Peer,
    trace::Note,
    world::{Event, World},
};

/// What a node asks for when it connects.
#[derive(Debug, Clone)]
pub struct Ask {
    pub peer: Peer,
    pub feed: FeedName,
    pub connection: Connection,
    pub following: Following,
    pub shown: Option<Commit>,
}

impl World {
    /// A node asks for a feed.
    pub fn asked(&mut self, ask: Ask) {
        let replica = ask.connection.replica;
        let shown: Vec<Commit> = ask.shown.into_iter().collect();
        if !self.database.up || !self.is_served(&shown) {
            self.break_later(ask.peer, ask.feed, ask.connection, 50);
            return;
        }
        let stream = Stream {
            connection: ask.connection,
            following: ask.following,
            arrives: self.now,
        };
        let key = (ask.peer, ask.feed, ask.connection.id);
        self.replicas[replica].streams.insert(key.clone(), stream);
        self.push_one(replica, &key);
        self.say_idle(replica, &key, ask.following);
    }

    /// Who has everything hears that at once.
    fn say_idle(&mut self, replica: usize, key: &Line, following: Following) {
        let stream = self.replicas[replica].streams.get(key);
        if stream.is_some_and(|stream| stream.following == following) {
            self.send_lines(replica, key, following, writer::idle().to_owned());
        }
    }

    /// The epoch guard: nothing is served to anyone once a node has shown what is not stored.
    fn is_served(&mut self, shown: &[Commit]) -> bool {
        if self.tables.platform.shown.is_some() {
            return false;
        }
        for commit in shown {
            let head = self.tables.head(&commit.feed);
            let behind = if self.fault == Some(Fault::RewrittenIsServed) {
                commit.position() > head.position
            } else {
                head.is_behind(commit)
            };
            if behind {
                self.tables.show(&commit.feed, commit.position());
                let notices = self.random.between(20, 120) * SECOND;
                self.after(notices, Event::Blow(Blow::Restored));
                let what = format!("shown {} of {}", commit.position(), commit.feed);
                self.note(Note::Chaos(what));
                return false;
            }
        }
        true
    }

    /// A feed may have changed: sends what is new to everyone who follows it here.
    pub fn push(&mut self, replica: usize, feed: &FeedName) {
        if !self.database.up {
            let (boot, at) = (self.replicas[replica].boot, self.now + SECOND);
            self.queue
                .push(at, Event::Push(replica, boot, feed.clone()));
            return;
        }
        let streams = self.replicas[replica].streams.keys();
        let followers: Vec<_> = streams.filter(|(_, of, _)| of == feed).cloned().collect();
        for key in followers {
            self.push_one(replica, &key);
        }
    }

    fn push_one(&mut self, replica: usize, key: &Line) {
        let Some(stream) = self.replicas[replica].streams.get(key).copied() else {
            return;
        };
        let (peer, feed, _) = key;
        if self.tables.platform.shown.is_some() {
            self.replicas[replica].streams.remove(key);
            self.break_later(*peer, feed.clone(), stream.connection, 50);
            return;
        }
        let newest = self.tables.head(feed).position;
        let following = Following {
            epoch: newest.epoch,
            after: newest.generation,
        };
        if following == stream.following {
            return;
        }
        let changes = self.tables.changes(feed, stream.following);
        let position = changes.head.position;
        let Ok(lines) = stream::lines(&self.signer, feed, changes, Vec::new()) else {
            return;
        };
        self.fork_before(replica, key, stream.following);
        let following = Following {
            epoch: position.epoch,
            after: position.generation,
        };
        self.send_lines(replica, key, following, lines.concat());
    }

    /// Sends a piece of a stream, which leads to this position, behind all that was sent before.
    pub(crate) fn send_lines(
        &mut self,
        replica: usize,
        key: &Line,
        following: Following,
        lines: String,
    ) {
        let delay = self.network.delay(&mut self.random);
        let Some(stream) = self.replicas[replica].streams.get_mut(key) else {
            return;
        };
        let arrives = (self.now + delay).max(stream.arrives + 1);
        (stream.following, stream.arrives) = (following, arrives);
        let (peer, feed, _) = key;
        let event = Event::Stream {
            peer: *peer,
            feed: feed.clone(),
            connection: stream.connection,
            lines,
        };
        self.queue.push(arrives, event);
    }

    /// A report arrives.
    pub fn report(&mut self, replica: usize, peer: Peer, report: &Report) {
        let Some(node) = self.id_of(peer) else {
            return;
        };
        let answer = self.take_report(node, peer, report);
        let from = Peer::Replica(replica);
        let lost = self.network.loses(&mut self.random) || !self.network.is_open(from, peer);
        if lost {
            return;
        }
        let at = self.now + self.network.delay(&mut self.random);
        let boot = report.boot_id.clone();
        self.queue.push(at, Event::Answer(peer, boot, answer));
    }

    fn take_report(&mut self, node: NodeId, peer: Peer, report: &Report) -> Option<Positions> {
        if !self.database.up || !self.is_served(&report.feeds) {
            return None;
        }
        let builds = self.tables.reported_builds(report);
        let noticed = self.tables.store_report(node, report, self.now)?;
        self.heard_of_builds(node, report, &builds);
        self.note(Note::Report(peer, report.sequence));
        let epoch = self.tables.platform.epoch;
        self.checker.acknowledged(epoch, &report.feeds);
        if noticed.orphans {
            for service in self.tables.services_of_orphans(node) {
                self.evaluate(service);
            }
        }
        if noticed.builds {
            self.wake(Task::Builds);
        }
        if noticed.applied || noticed.instances || noticed.builds {
            self.wake(Task::Deployments);
            self.wake(Task::Instances);
        }
        if noticed.instances || noticed.address {
            self.wake(Task::Routes);
        }
        if noticed.address {
            self.wake(Task::PlatformRoutes);
        }
        if noticed.capacity || noticed.orphans {
            self.wake(Task::Evaluations);
        }
        let feeds = report.feeds.iter().map(|commit| &commit.feed);
        let stand = feeds.map(|feed| (feed.clone(), self.tables.position(feed)));
        Some(stand.collect())
    }
}
