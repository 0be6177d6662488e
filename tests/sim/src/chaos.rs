//! What breaks, and when it is mended. Which kinds of trouble a history has follows from its seed.

mod climate;
mod dark;
mod database;
mod disk;
mod fork;
mod upgrade;

pub use climate::{Climate, Trouble};

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{
    clock::SECOND,
    network::{Peer, Weather},
    node::Node,
    trace::Note,
    world::{Event, World},
};

/// Something breaks, or is mended.
#[derive(Debug)]
pub enum Blow {
    Mend(u64),
    StartReplica(usize),
    /// An operator has looked at what a rollout was stopped for.
    Resume,
    StartAgent(usize),
    /// An operator declares a machine dead that is.
    Fence(usize),
    StartEdge(usize),
    DatabaseUp,
    /// A standby that has everything takes over.
    Promoted,
    /// No node reaches a control plane.
    CutAll,
    /// What the standby or the backup has is what counts now.
    TakeOver(&'static str),
    /// An operator says that this database is the true one.
    Restored,
    /// Everything central goes away for days.
    Outage,
    /// Meanwhile a process of a node ends.
    Restart,
}

impl World {
    /// The next trouble.
    pub(crate) fn next_blow(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let pause = self.random.between(3 * SECOND, self.weather.pause_max);
        self.after(pause, Event::NextBlow);
        let troubles = self.weather.troubles.clone();
        match self.random.pick(&troubles) {
            Some(Trouble::Partition) => self.partition(false),
            Some(Trouble::Unheard) => self.partition(true),
            Some(Trouble::Crash) => self.crash(),
            Some(Trouble::Pause) => self.pause(),
            Some(Trouble::FailOver) => self.fail_over(),
            Some(Trouble::Restore) => self.restore(),
            Some(Trouble::Relapse) => self.relapse(),
            Some(Trouble::Power) => self.power(),
            Some(Trouble::Wipe) => self.wipe(),
            Some(Trouble::Spoil) => self.spoil(),
            Some(Trouble::Dark) => self.go_dark(),
            Some(Trouble::Upgrade) => self.upgrade(),
            Some(Trouble::Fork) => self.forked = true,
            None => {}
        }
    }

    fn chaos(&mut self, what: String) {
        self.note(Note::Chaos(what));
    }

    fn any_peer(&mut self) -> Peer {
        if self.random.chance(400) {
            Peer::Edge(self.random.below(self.edges.len()))
        } else {
            Peer::Agent(self.some_agent())
        }
    }

    /// Mostly one with containers or with a build: others have little to lose.
    fn some_agent(&mut self) -> usize {
        let all = || self.nodes.iter();
        let builds = |node: &&Node| node.agent.as_ref().is_some_and(|it| it.builder.is_busy());
        let building: Vec<usize> = all().filter(builds).map(|node| node.index).collect();
        let runs = |node: &&Node| !node.containers.is_empty();
        let busy: Vec<usize> = all().filter(runs).map(|node| node.index).collect();
        let building = self.random.chance(250).then_some(building);
        let building = building.and_then(|all| self.random.pick(&all).copied());
        match building.or_else(|| self.random.pick(&busy).copied()) {
            Some(index) => index,
            None => self.random.below(self.nodes.len()),
        }
    }

    /// `unheard`: what nodes say is lost, and what they are told is not.
    fn partition(&mut self, unheard: bool) {
        let replicas: Vec<Peer> = (0..self.replicas.len()).map(Peer::Replica).collect();
        let (one_way, in_whole) = (self.random.chance(300), self.random.chance(200));
        let victims: Vec<Peer> = if in_whole {
            let region = self.random.below(self.tables.regions.len());
            let region = self.tables.regions[region].clone();
            let agents = self.nodes.iter().filter(|node| node.region == region);
            let edges = self.edges.iter().filter(|edge| edge.region == region);
            let agents = agents.map(|node| Peer::Agent(node.index));
            agents
                .chain(edges.map(|edge| Peer::Edge(edge.index)))
                .collect()
        } else {
            vec![self.any_peer()]
        };
        let mut links = BTreeSet::new();
        for victim in &victims {
            for replica in &replicas {
                let replica = *replica;
                if !unheard {
                    links.insert((replica, *victim));
                }
                if unheard || !one_way {
                    links.insert((*victim, replica));
                }
            }
        }
        // Sometimes edges are cut off from agents, too.
        if let [Peer::Edge(edge)] = victims[..]
            && self.random.chance(300)
        {
            for agent in 0..self.nodes.len() {
                links.insert((Peer::Edge(edge), Peer::Agent(agent)));
                links.insert((Peer::Agent(agent), Peer::Edge(edge)));
            }
        }
        let lasts = if self.random.chance(200) {
            self.random.between(60, 300) * SECOND
        } else {
            self.random.between(1, 60) * SECOND
        };
        let what = victims.first().copied();
        self.chaos(format!(
            "cut {} from {what:?} on, one way: {}",
            victims.len(),
            one_way || unheard
        ));
        let cut = self.network.cut(links);
        self.lines_cut();
        self.after(lasts, Event::Blow(Blow::Mend(cut)));
    }

    fn crash(&mut self) {
        let back = self.random.between(SECOND, 20 * SECOND);
        match self.random.between(0, 2) {
            0 => {
                let index = self.random.below(self.replicas.len());
                self.kill_replica(index);
                self.after(back, Event::Blow(Blow::StartReplica(index)));
            }
            1 => {
                let index = self.some_agent();
                self.chaos(format!("agent {index} dies"));
                self.nodes[index].agent = None;
                self.after(back, Event::Blow(Blow::StartAgent(index)));
            }
            _ => {
                let index = self.random.below(self.edges.len());
                self.chaos(format!("edge {index} dies"));
                self.edges[index].edge = None;
                self.after(back, Event::Blow(Blow::StartEdge(index)));
            }
        }
    }

    pub(crate) fn kill_replica(&mut self, index: usize) {
        self.chaos(format!("replica {index} dies"));
        let streams: Vec<_> = self.replicas[index]
            .streams
            .iter()
            .map(|((peer, feed, _), stream)| (*peer, feed.clone(), stream.connection))
            .collect();
        self.replicas[index].die();
        for (peer, feed, connection) in streams {
            let delay = self.random.between(1, 50);
            self.break_later(peer, feed, connection, delay);
        }
    }

    fn pause(&mut self) {
        let index = self.random.below(self.replicas.len());
        let lasts = self.random.between(SECOND, 40 * SECOND);
        self.chaos(format!("replica {index} is stopped for {lasts} ms"));
        self.replicas[index].paused_until = self.now + lasts;
    }

    fn power(&mut self) {
        let index = self.some_agent();
        let back = if self.random.chance(200) {
            self.random.between(120, 300) * SECOND
        } else {
            self.random.between(5, 90) * SECOND
        };
        self.chaos(format!("machine {index} loses power for {back} ms"));
        self.lose_power(index);
        self.after(back, Event::Blow(Blow::StartAgent(index)));
        if self.weather.builds && back > 120 * SECOND {
            let looks = self.random.between(60, 120) * SECOND;
            self.after(looks, Event::Blow(Blow::Fence(index)));
        }
    }

    /// An operator has looked: that machine is dead.
    fn fence(&mut self, index: usize) {
        let node = &self.nodes[index];
        let (id, is_off) = (node.id, node.agent.is_none());
        if self.database.up && is_off && self.tables.fence(id) {
            self.chaos(format!("an operator fences agent {index}"));
        }
    }

    /// Something that was planned happens.
    pub(crate) fn blow(&mut self, blow: Blow) {
        match blow {
            Blow::Mend(cut) => self.network.mend(cut),
            Blow::StartReplica(index) => self.start_replica(index),
            Blow::Resume => self.resume_rollout(),
            Blow::StartAgent(index) => self.start_agent(index),
            Blow::Fence(index) => self.fence(index),
            Blow::StartEdge(index) => self.start_edge(index),
            Blow::DatabaseUp => self.database_up(),
            Blow::Promoted => self.promoted(),
            Blow::CutAll => self.cut_all(),
            Blow::TakeOver(how) => self.take_over(how),
            Blow::Restored => self.say_restored(),
            Blow::Outage => self.outage(),
            Blow::Restart => self.restart(),
        }
    }

    fn start_replica(&mut self, index: usize) {
        if self.replicas[index].up {
            return;
        }
        let holder: Uuid = self.random.uuid(self.now);
        self.replicas[index].restart(holder);
        self.start_timers(index);
    }

    /// Everything is mended; from now on nothing breaks.
    pub(crate) fn heal(&mut self) {
        self.chaos("everything is mended".to_owned());
        self.healed = Some(self.now);
        self.outage = false;
        self.network.mend_all();
        self.network.weather = Weather::FAIR;
        self.weather = Climate::calm();
        self.database_up();
        self.database.copy = None;
        for index in 0..self.replicas.len() {
            self.replicas[index].paused_until = 0;
            self.start_replica(index);
        }
        for index in 0..self.nodes.len() {
            self.start_agent(index);
        }
        for index in 0..self.edges.len() {
            self.start_edge(index);
        }
        for node in self.tables.nodes.values_mut() {
            node.draining = false;
        }
        self.after(5 * SECOND, Event::Rest);
    }
}
