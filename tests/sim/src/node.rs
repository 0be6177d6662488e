//! A machine that runs workloads: containers, which outlive the agent's process; the disk, which
//! outlives both; and the agent, whose every choice is the real roster's and the real `decide`'s.

mod report;

pub use report::role_report;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use agent::{
    build,
    desired::Desired,
    health::Verdict,
    ports::Rotation,
    reconcile::{Action, Goal, Outcome, Record, Roster, decide, wake_at},
    runtime::{Container, Labels, Phase},
    serve,
};
use chrono::{DateTime, Utc};
use domain::{
    id::{BuildId, InstanceId, NodeId, ServiceId},
    name::Name,
};
use protocol::{
    agent_api::Confirmation,
    feed::{FeedName, signature::FeedKeys},
    item::{InstanceItem, NodeItem},
    report::{Capacity, InstanceReport, Problem},
};

use crate::{
    builder::Builder,
    clock::{self, Millis, SECOND},
    fault::Fault,
    follow::{Disk, Followed},
    random::Random,
};

/// What a program does once it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// Answers after a while, and ends when asked to.
    Good,
    /// Ends by itself a second after each start.
    Crashing,
    /// Never answers.
    Mute,
}

/// A container of the engine.
#[derive(Debug, Clone)]
pub struct SimContainer {
    pub seen: Container,
    pub program: Program,
    /// It was asked to end because the plan says so.
    pub told_to_stop: bool,
    /// From when on it answers.
    pub answers_from: Millis,
}

impl SimContainer {
    /// Whether a connection to its address is answered.
    #[must_use]
    pub fn answers(&self, now: Millis) -> bool {
        self.is_running() && self.program == Program::Good && now >= self.answers_from
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.seen.phase, Phase::Running { .. })
    }
}

/// What survives the agent's process.
#[derive(Debug, Default)]
pub struct NodeDisk {
    pub feed: Disk,
    pub records: BTreeMap<InstanceId, Record>,
    pub rotation: Rotation,
    pub builds: BTreeMap<BuildId, build::Record>,
}

/// A machine with an agent.
#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    pub index: usize,
    pub region: Name,
    pub address: SocketAddr,
    pub capacity: Capacity,
    pub disk: NodeDisk,
    pub containers: BTreeMap<InstanceId, SimContainer>,
    pub agent: Option<Agent>,
    boots: u64,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    pub boot: u64,
    pub sequence: u64,
    pub feed: Followed<NodeItem>,
    pub roster: Roster,
    pub builder: Builder,
    /// A document is known.
    knows: bool,
    /// Runs whose probes are under way.
    probed: BTreeMap<InstanceId, DateTime<Utc>>,
    /// When it will decide again by itself.
    pub wake: Option<Millis>,
    /// As reported last.
    pub reported: Vec<InstanceReport>,
}

/// What an agent wants to happen after a decision.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Actions begun, with the item of what is created.
    pub actions: Vec<(Action, Option<Arc<InstanceItem>>)>,
    /// Actions that need nothing but a note.
    pub concluded: Vec<InstanceId>,
    /// Runs whose probes begin.
    pub probes: Vec<(InstanceId, DateTime<Utc>)>,
    /// To decide again at this time.
    pub wake: Option<Millis>,
    /// Instances changed: report now.
    pub report: bool,
}

impl Node {
    /// A machine that has never run anything.
    #[must_use]
    pub fn new(id: NodeId, index: usize, region: Name, capacity: Capacity) -> Self {
        let low = u8::try_from(index % 250).unwrap_or_default();
        let high = u8::try_from(index / 250).unwrap_or_default();
        Self {
            id,
            index,
            region,
            address: SocketAddr::from(([10, 1, high, low], 7444)),
            capacity,
            disk: NodeDisk::default(),
            containers: BTreeMap::new(),
            agent: None,
            boots: 0,
        }
    }

    /// Starts the agent from the disk.
    pub fn start(&mut self, keys: FeedKeys, fault: Option<Fault>, now: Millis) {
        self.boots += 1;
        let feed = Followed::load(FeedName::Node(self.id), &self.disk.feed, keys);
        let roster = Roster::remembered(&self.disk.records, clock::clock(now));
        let mut agent = Agent {
            boot: self.boots,
            sequence: 0,
            feed,
            roster,
            builder: Builder::resumed(&self.disk.builds),
            knows: false,
            probed: BTreeMap::new(),
            wake: None,
            reported: Vec::new(),
        };
        agent.take_document(fault);
        self.agent = Some(agent);
    }

    /// The machine loses power: every container ends.
    pub fn lose_power(&mut self, now: Millis) {
        self.agent = None;
        let running: Vec<InstanceId> = self.containers.keys().copied().collect();
        running.into_iter().for_each(|id| self.end(id, 137, now));
    }

    /// A container's program ends.
    pub fn end(&mut self, id: InstanceId, exit_code: i64, now: Millis) {
        let Some(container) = self.containers.get_mut(&id) else {
            return;
        };
        if let Phase::Running { since } = container.seen.phase {
            container.seen.phase = Phase::Ended {
                since,
                at: clock::wall(now),
                exit_code,
                out_of_memory: false,
            };
        }
    }

    /// Observes, decides until nothing is left to be decided, remembers.
    pub fn reconcile(&mut self, now: Millis) -> Wishes {
        let mut wishes = Wishes::default();
        let Some(agent) = &mut self.agent else {
            return wishes;
        };
        let clock = clock::clock(now);
        let seen = self.containers.values().map(|c| c.seen.clone()).collect();
        agent.roster.observe(seen, clock);
        for action in decide(&agent.roster.view(clock)) {
            let Some(instance) = agent.roster.all_mut().get_mut(&action.instance()) else {
                continue;
            };
            if let Action::Conclude(id) = action {
                instance.conclude(clock);
                wishes.concluded.push(id);
                continue;
            }
            let item = match &instance.goal {
                Goal::Run(item) => Some(Arc::clone(item)),
                _ => None,
            };
            instance.begin(action);
            wishes.actions.push((action, item));
        }
        wishes.probes = agent.begin_probes();
        self.disk.records = agent.roster.records();
        wishes.wake = wake_at(&agent.roster.view(clock)).map(clock::millis_of);
        if !wishes.concluded.is_empty() {
            wishes.wake = Some(now + 1);
        }
        let reports = agent.reports(self.address.ip());
        wishes.report = reports != agent.reported;
        agent.reported = reports;
        wishes
    }

    /// What an action does to the engine, whoever asked for it.
    pub fn perform(
        &mut self,
        action: Action,
        item: Option<&InstanceItem>,
        program: Program,
        random: &mut Random,
        now: Millis,
    ) -> Outcome {
        let id = action.instance();
        match action {
            Action::Create(_) => self.create(item, program, now),
            Action::Start(_) => self.launch(id, random, now),
            Action::Signal(_) => Outcome::Signalled,
            Action::Kill(_) => {
                self.end(id, 137, now);
                Outcome::Killed
            }
            Action::Remove(_) | Action::Conclude(_) => {
                let removed = self.containers.remove(&id);
                if let Some(port) = removed.and_then(|container| container.seen.host_port) {
                    self.disk.rotation.release(port, clock::wall(now));
                }
                Outcome::Removed
            }
        }
    }

    fn create(&mut self, item: Option<&InstanceItem>, program: Program, now: Millis) -> Outcome {
        let Some(item) = item else {
            return Outcome::Created;
        };
        if self.containers.contains_key(&item.id) {
            return failed("engine_failed", "there is a container of this name");
        }
        let held: BTreeSet<u16> = self
            .containers
            .values()
            .filter_map(|container| container.seen.host_port)
            .collect();
        let range = 20_000..=39_999;
        let Some(port) = self.disk.rotation.take(&range, &held, clock::wall(now)) else {
            return failed("no_host_port", "no host port is free");
        };
        let digest = item.image.rsplit('@').next().map(ToOwned::to_owned);
        let container = SimContainer {
            seen: Container {
                labels: Labels::from(item),
                phase: Phase::Created,
                image_digest: digest,
                ip: Some(IpAddr::from([10, 200, 0, 1])),
                host_port: Some(port),
                published: None,
            },
            program,
            told_to_stop: false,
            answers_from: 0,
        };
        self.containers.insert(item.id, container);
        Outcome::Created
    }

    fn launch(&mut self, id: InstanceId, random: &mut Random, now: Millis) -> Outcome {
        let Some(container) = self.containers.get_mut(&id) else {
            return failed("start_failed", "there is no such container");
        };
        let again = matches!(container.seen.phase, Phase::Ended { .. });
        container.seen.phase = Phase::Running {
            since: clock::wall(now),
        };
        container.answers_from = now + random.between(200, 3 * SECOND);
        Outcome::Started { again }
    }

    /// What an edge is answered that asks for an instance; none when the agent does not answer at all.
    #[must_use]
    pub fn confirmation(&self, id: InstanceId) -> Option<Option<Confirmation>> {
        let agent = self.agent.as_ref()?;
        let instance = agent.roster.all().get(&id);
        Some(instance.and_then(|i| serve::confirmation(id, i, self.address.ip())))
    }

    /// The container that listens at an address of this node.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&SimContainer> {
        let listens = |c: &&SimContainer| c.seen.host_port == Some(address.port());
        self.containers.values().find(listens)
    }

    /// How many containers of a service run here.
    #[must_use]
    pub fn running(&self, service: ServiceId) -> usize {
        let of = |c: &&SimContainer| c.seen.labels.service == service && c.is_running();
        self.containers.values().filter(of).count()
    }
}

impl Agent {
    /// The newest document becomes what is wanted.
    pub fn take_document(&mut self, fault: Option<Fault>) {
        let heard = self.feed.is_heard() || fault == Some(Fault::StartsUnheard);
        if let Some(mut desired) = Desired::from_state(&self.feed.state(), heard) {
            if fault == Some(Fault::LetGoUnheard) {
                desired.let_go.clear();
            }
            if fault == Some(Fault::LackingIsDropped) {
                let all = self.roster.all_mut().values_mut();
                all.for_each(|it| it.documented_now |= it.record.documented);
            }
            self.knows = true;
            self.roster.want(&desired);
            self.builder.wanted = desired.builds;
        }
    }

    /// Whether any document is known.
    #[must_use]
    pub const fn knows_a_document(&self) -> bool {
        self.knows
    }

    fn begin_probes(&mut self) -> Vec<(InstanceId, DateTime<Utc>)> {
        let mut begun = Vec::new();
        for (id, instance) in self.roster.all() {
            let run = instance
                .probed_run(*id)
                .filter(|_| instance.ending.is_none());
            match run {
                Some(run) if self.probed.get(id) != Some(&run.since) => {
                    self.probed.insert(*id, run.since);
                    begun.push((*id, run.since));
                }
                Some(_) => {}
                None => {
                    self.probed.remove(id);
                }
            }
        }
        begun
    }

    /// A probe has found something out.
    pub fn judge(&mut self, id: InstanceId, since: DateTime<Utc>, verdict: Verdict) {
        if let Some(instance) = self.roster.all_mut().get_mut(&id) {
            instance.judge(since, verdict);
        }
    }

    /// An action has ended.
    pub fn settle(&mut self, id: InstanceId, outcome: Outcome, now: Millis) {
        if let Some(instance) = self.roster.all_mut().get_mut(&id) {
            instance.settle(outcome, clock::clock(now));
        }
    }

    fn reports(&self, address: IpAddr) -> Vec<InstanceReport> {
        let all = self.roster.all().iter();
        all.map(|(id, instance)| instance.report(*id, address))
            .collect()
    }
}

fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed(Problem {
        code: code.to_owned(),
        message: message.to_owned(),
    })
}
