//! What happened, as a hash over everything and the last lines for people.

use std::{
    collections::{VecDeque, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher as _},
};

use domain::{
    deployment::machine::Step,
    generation::Position,
    id::{BuildId, DeploymentId, InstanceId, ServiceId},
};

use crate::{clock::Millis, network::Peer};

/// Lines kept for a failure's report.
pub const LINES: usize = 40;

/// One thing that happened.
#[derive(Debug, Clone, Hash)]
pub enum Note {
    /// A tenant or an operator wants something.
    Intent(String),
    /// Something breaks, or is mended.
    Chaos(String),
    /// A deployment is in a new step.
    Step(DeploymentId, Step),
    /// The plan has a new instance, on this agent.
    Placed(InstanceId, ServiceId, usize),
    /// What ran without a plan is in it again, on this agent.
    Adopted(InstanceId, ServiceId, usize),
    /// A build is this agent's.
    Given(BuildId, usize),
    /// The plan wants an instance to go.
    Stop(InstanceId, String),
    /// Its agent is told so.
    Told(InstanceId),
    /// Its room is given back.
    Gone(InstanceId),
    /// A node has a newer document of a feed.
    Commit(Peer, String, Position),
    /// A node refuses what it was sent, or breaks off.
    Refused(Peer, String),
    /// An edge acknowledges.
    Acknowledged(usize, String, Position),
    /// An agent does something to a container.
    Action(usize, String),
    /// A report was stored.
    Report(Peer, u64),
    /// A request was answered by this instance, or by nobody.
    Request(usize, ServiceId, Option<InstanceId>),
    /// A step of the rollout of a program that knows this version.
    Rollout(i32, String),
    /// A transaction lost against another.
    Conflict(usize, String),
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    lines: usize,
    last: VecDeque<(Millis, Note)>,
    count: u64,
}

impl Trace {
    /// Keeps the last `lines` lines.
    #[must_use]
    pub fn new(lines: usize) -> Self {
        Self {
            hasher: DefaultHasher::new(),
            lines,
            last: VecDeque::new(),
            count: 0,
        }
    }

    /// Takes one thing down.
    pub fn note(&mut self, at: Millis, note: Note) {
        (at, &note).hash(&mut self.hasher);
        self.count += 1;
        if matches!(note, Note::Report(..) | Note::Request(..)) {
            return;
        }
        if self.last.len() == self.lines {
            self.last.pop_front();
        }
        self.last.push_back((at, note));
    }

    /// Of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// How many things happened.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, note) in &self.last {
            writeln!(f, "{:>8}.{:03} s  {note:?}", at / 1_000, at % 1_000)?;
        }
        Ok(())
    }
}
