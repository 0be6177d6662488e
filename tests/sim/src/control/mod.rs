//! Replicas of the control plane: the thin shells around the real decisions. A turn reads at one moment
//! and writes at a later one, as transactions do; what lies between is where races are.

mod builds;
mod deployments;
mod evaluations;
mod going;
mod orphans;
mod platform;
mod rollout;
mod routes;
mod serve;
mod task;

pub use builds::Order;
pub use deployments::Step;
pub use evaluations::Answer;
pub use going::Leave;
pub use rollout::RolloutStep;
pub use routes::Routing;
pub use serve::Ask;
pub use task::Task;

use std::collections::{BTreeMap, BTreeSet};

use control_plane::{
    feed::route::{RENDERING, Rings},
    store::feed::Following,
};
use domain::id::{EvaluationId, ServiceId};
use protocol::feed::FeedName;
use uuid::Uuid;

use crate::{
    clock::{Millis, SECOND},
    fault::Fault,
    follow::Connection,
    network::Peer,
    trace::Note,
    world::{Event, World},
};

/// A holder that died is followed by another after this long.
/// Longer than the real one: a dead holder keeps others from mending for longer, and more goes wrong meanwhile.
const LEASE: Millis = 10 * SECOND;

/// A process of the control plane.
#[derive(Debug)]
pub struct Replica {
    pub index: usize,
    pub up: bool,
    /// Rises with each start: what an earlier process had in hand is gone.
    pub boot: u64,
    /// Stopped like by SIGSTOP until then.
    pub paused_until: Millis,
    /// The newest rendering that its program knows.
    pub version: i32,
    pub holder: Uuid,
    pub streams: BTreeMap<Line, Stream>,
    /// Turns that are due already.
    due: BTreeSet<Task>,
    /// Transactions under way; a reconciler has one turn at a time.
    open: BTreeMap<Task, usize>,
    /// Woken during a turn.
    again: BTreeSet<Task>,
}

/// Who follows what, and by which connection.
pub type Line = (Peer, FeedName, u64);

/// A stream that this replica feeds.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    pub connection: Connection,
    pub following: Following,
    /// When the last piece arrives: the next one does not overtake it.
    pub arrives: Millis,
}

/// What a turn wants to write.
#[derive(Debug)]
pub enum Prepared {
    Answer(Box<Answer>),
    Step(Box<Step>),
    Order(Box<Order>),
    Leave(Box<Leave>),
    Routing(Routing),
    Rollout(Box<RolloutStep>),
}

impl Replica {
    /// A running replica.
    #[must_use]
    pub fn new(index: usize, holder: Uuid) -> Self {
        Self {
            index,
            up: true,
            boot: 1,
            paused_until: 0,
            version: RENDERING.version,
            holder,
            streams: BTreeMap::new(),
            due: BTreeSet::new(),
            open: BTreeMap::new(),
            again: BTreeSet::new(),
        }
    }

    /// A new process with a name of its own.
    pub fn restart(&mut self, holder: Uuid) {
        let (boot, version) = (self.boot + 1, self.version);
        *self = Self {
            boot,
            version,
            ..Self::new(self.index, holder)
        };
    }

    /// The process dies: all that it had in hand goes with it.
    pub fn die(&mut self) {
        self.up = false;
        self.streams.clear();
    }
}

impl Prepared {
    /// Whether it is rolled back when a newer program has gone ahead with a ring.
    fn writes_routes(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.writes_routes(),
            Self::Step(step) => step.writes_routes(),
            Self::Leave(leave) => leave.writes_routes(),
            Self::Routing(_) => true,
            Self::Order(_) | Self::Rollout(_) => false,
        }
    }

    const fn task(&self) -> Task {
        match self {
            Self::Answer(_) => Task::Evaluations,
            Self::Step(_) => Task::Deployments,
            Self::Order(_) => Task::Builds,
            Self::Leave(_) => Task::Instances,
            Self::Routing(_) => Task::Routes,
            Self::Rollout(_) => Task::Rollout,
        }
    }
}

impl World {
    /// A replica begins its timers.
    pub fn start_timers(&mut self, replica: usize) {
        let boot = self.replicas[replica].boot;
        for task in Task::ALL {
            let at = self.now + self.random.between(0, task.period());
            self.queue.push(at, Event::Turn(replica, boot, task, true));
        }
    }

    /// Wakes a reconciler on every replica; the wake-up may get lost.
    pub fn wake(&mut self, task: Task) {
        for replica in 0..self.replicas.len() {
            let lost = self.random.chance(30);
            let at = self.now + self.random.between(1, 20);
            let process = &mut self.replicas[replica];
            if lost || !process.up || !process.due.insert(task) {
                continue;
            }
            let boot = process.boot;
            self.queue.push(at, Event::Turn(replica, boot, task, false));
        }
    }

    /// Whether this process still runs; a stopped one meets the event when it is woken.
    pub fn runs(&mut self, replica: usize, boot: u64) -> Option<Millis> {
        let process = &self.replicas[replica];
        if !process.up || process.boot != boot {
            return None;
        }
        Some(process.paused_until.max(self.now))
    }

    /// A reconciler's turn.
    pub fn turn(&mut self, replica: usize, task: Task, timer: bool) {
        let boot = self.replicas[replica].boot;
        if timer {
            let at = self.now + task.period();
            self.queue.push(at, Event::Turn(replica, boot, task, true));
        } else {
            self.replicas[replica].due.remove(&task);
        }
        if !self.database.up {
            return;
        }
        if self.replicas[replica].open.contains_key(&task) {
            self.replicas[replica].again.insert(task);
            return;
        }
        self.program = self.replicas[replica].version;
        if self.leaves_it_to_newer_programs() || !self.takes_lease(replica, task) {
            return;
        }
        match task {
            Task::Evaluations => self.turn_evaluations(replica),
            Task::Deployments => self.turn_deployments(replica),
            Task::Builds => self.turn_builds(replica),
            Task::Routes => self.turn_routes(replica),
            Task::PlatformRoutes => self.turn_platform_routes(),
            Task::Rollout => self.turn_rollout(replica),
            Task::Instances => self.turn_instances(replica),
            Task::Nodes => self.turn_nodes(),
            Task::Orphans => self.turn_orphans(),
        }
        self.after_commit();
    }

    /// A program that does not know how a ring is rendered leaves all to the newer ones.
    fn leaves_it_to_newer_programs(&self) -> bool {
        let goes_on = self.fault == Some(Fault::OlderProgramGoesOn);
        !goes_on && self.tables.rollout.newest_version() > self.program
    }

    /// An older program does not keep a newer one from leading.
    fn takes_lease(&mut self, replica: usize, task: Task) -> bool {
        let Replica {
            holder, version, ..
        } = self.replicas[replica];
        let name = format!("{}@{version}", task.lease());
        let lease = self.tables.take_lease(&name, holder, LEASE, self.now);
        lease.is_some()
    }

    /// What the program at work renders routes with.
    fn rings(&self) -> Option<Rings> {
        let newest = self.program;
        if self.fault != Some(Fault::OlderProgramGoesOn) {
            return self.tables.rings(newest);
        }
        let mut rings = self.tables.rings(i32::MAX)?;
        for version in rings.versions.values_mut() {
            *version = newest.min(*version);
        }
        Some(rings)
    }

    /// Writes later, as the `order`-th transaction of a turn.
    fn commit_later(&mut self, replica: usize, order: usize, prepared: Prepared) {
        let order = u64::try_from(order).unwrap_or_default();
        let slow = self
            .random
            .chance(if self.weather.builds { 500 } else { 20 });
        let mut pause = self.random.between(2, 25);
        if slow {
            pause *= 40;
        }
        let process = &mut self.replicas[replica];
        *process.open.entry(prepared.task()).or_default() += 1;
        let boot = process.boot;
        let at = self.now + 3 * order + pause;
        self.queue
            .push(at, Event::Commit(replica, boot, prepared, self.now));
    }

    /// A turn's transaction is committed, or loses against another.
    pub fn commit(&mut self, replica: usize, prepared: Prepared, begun: Millis) {
        let task = prepared.task();
        if self.database.up && begun >= self.database.since {
            self.commit_now(replica, prepared);
        }
        let process = &mut self.replicas[replica];
        let open = process.open.get_mut(&task);
        let left = open.map_or(0, |open| {
            *open = open.saturating_sub(1);
            *open
        });
        if left == 0 {
            process.open.remove(&task);
            if process.again.remove(&task) {
                self.wake(task);
            }
        }
    }

    fn commit_now(&mut self, replica: usize, prepared: Prepared) {
        self.program = self.replicas[replica].version;
        if prepared.writes_routes() && self.rings().is_none() {
            self.note(Note::Conflict(replica, "a newer rendering".to_owned()));
            return;
        }
        match prepared {
            Prepared::Answer(answer) => self.commit_answer(replica, *answer),
            Prepared::Step(step) => self.commit_step(replica, *step),
            Prepared::Order(order) => self.commit_order(replica, &order),
            Prepared::Leave(leave) => self.commit_leave(&leave),
            Prepared::Routing(routing) => self.commit_routing(replica, routing),
            Prepared::Rollout(step) => self.commit_rollout(replica, &step),
        }
        self.after_commit();
    }

    /// Feeds that were written are sent, by each replica when it hears of it.
    pub fn after_commit(&mut self) {
        if let Some(epoch) = self.tables.begun.take() {
            self.note(Note::Chaos(format!("epoch {} begins by itself", epoch.0)));
            self.checker.epoch_began(self.now);
        }
        let written = std::mem::take(&mut self.tables.written);
        for feed in written {
            self.checker.feed_written(&self.tables, &feed);
            for replica in 0..self.replicas.len() {
                if !self.replicas[replica].up {
                    continue;
                }
                // A lost wake-up is made good by the poll.
                let poll = if self.random.chance(30) { SECOND } else { 0 };
                let at = self.now + self.random.between(1, 20) + poll;
                let boot = self.replicas[replica].boot;
                self.queue
                    .push(at, Event::Push(replica, boot, feed.clone()));
            }
        }
    }

    /// Whether the service's row is as it was read; the row counts as held until now.
    fn lock(&mut self, replica: usize, service: ServiceId, read: u64) -> bool {
        let Some(row) = self.tables.services.get_mut(&service) else {
            return false;
        };
        let same = row.locked == read;
        row.locked += u64::from(same);
        if !same {
            self.note(Note::Conflict(replica, service.to_string()));
        }
        same
    }

    fn locked(&self, service: ServiceId) -> u64 {
        let row = self.tables.services.get(&service);
        row.map_or(0, |row| row.locked)
    }

    /// Asks the scheduler to look at a service.
    pub fn evaluate(&mut self, service: ServiceId) {
        let id = EvaluationId::from(self.random.uuid(self.now));
        self.tables.request_evaluation(id, service, self.now);
    }
}
