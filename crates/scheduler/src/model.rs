//! What the scheduler sees and what it answers.

use std::collections::BTreeMap;

use domain::{
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::{Duplication, State},
    name::Name,
    quantity::{Bytes, MilliCpu},
    spec::Strategy,
};

/// An amount of what nodes offer and instances need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
}

impl Amount {
    /// What is left of `self`; nothing where `used` is more.
    #[must_use]
    pub fn minus(self, used: Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_sub(used.cpu.0)),
            memory: Bytes(self.memory.0.saturating_sub(used.memory.0)),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_add(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_add(other.memory.0)),
        }
    }

    /// Whether `needed` fits into it.
    #[must_use]
    pub fn holds(self, needed: Self) -> bool {
        self.cpu >= needed.cpu && self.memory >= needed.memory
    }
}

/// Whether a node can be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    /// Reports in time.
    Punctual,
    /// Silent for 45 s: nothing new is placed there.
    Late,
    /// Silent for 2 min: what may run twice is replaced elsewhere.
    Lost,
    /// An operator has said that it is gone: likewise, and it is nothing that we only can't see.
    Gone,
}

/// A node that runs workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node.
    pub id: NodeId,
    /// Where it stands.
    pub region: Name,
    /// An operator lets new instances onto it.
    pub schedulable: bool,
    /// An operator empties it.
    pub draining: bool,
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// What it offers.
    pub capacity: Amount,
    /// What instances of all services have reserved.
    pub reserved: Amount,
    /// Instances of any service that failed here lately.
    pub recent_failures: u32,
}

/// How far an instance is, as the scheduler counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serves or could.
    Ready,
    /// Not ready (yet).
    Coming,
    /// Told to go.
    Leaving,
    /// Has ended; holds no resources once told to go.
    Ended,
}

impl Phase {
    /// Of an instance that was told to go or not, and what its agent said last. One that drains untold, as it may after
    /// a restore that forgot the order, still runs: what may not run twice waits for its end.
    #[must_use]
    pub const fn of(told_to_go: bool, state: State, ready: bool) -> Self {
        match state {
            _ if told_to_go => Self::Leaving,
            State::Stopped => Self::Ended,
            State::Running if ready => Self::Ready,
            State::Assigned
            | State::Pulling
            | State::Starting
            | State::Running
            | State::Draining => Self::Coming,
        }
    }
}

/// An instance of the service in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance.
    pub id: InstanceId,
    /// Its deployment.
    pub deployment_id: DeploymentId,
    /// Where it is.
    pub node_id: NodeId,
    /// How far it is.
    pub phase: Phase,
}

/// What shall run of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// Its release.
    pub release_id: ReleaseId,
    /// How many in each region.
    pub replicas: BTreeMap<Name, u32>,
    /// What each needs.
    pub resources: Amount,
    /// How it makes way for, or takes over from, other deployments.
    pub strategy: Strategy,
}

impl Goal {
    /// Whether a second copy may run while a node is cut off.
    #[must_use]
    pub fn duplication(&self) -> Duplication {
        duplication(self.strategy)
    }
}

pub(crate) const fn duplication(strategy: Strategy) -> Duplication {
    match strategy {
        Strategy::Rolling => Duplication::Allowed,
        Strategy::Recreate => Duplication::Never,
    }
}

/// The question: what one service needs now. Goals go from the oldest deployment to the newest
/// (what serves, and what shall take over); instances of other deployments are surplus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The service.
    pub service_id: ServiceId,
    /// What shall run.
    pub goals: Vec<Goal>,
}

/// The world that the question is asked in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Every node with an agent.
    pub nodes: Vec<Node>,
    /// The service's instances that hold resources or have just ended.
    pub instances: Vec<Instance>,
}

/// The answer. Executing it leaves no choices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// New instances.
    pub placements: Vec<Placement>,
    /// Instances that shall go, once no edge routes to them.
    pub stops: Vec<Stop>,
    /// What found no place.
    pub exhausted: Vec<Exhausted>,
}

/// A new instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// For this deployment.
    pub deployment_id: DeploymentId,
    /// Its release.
    pub release_id: ReleaseId,
    /// On this node.
    pub node_id: NodeId,
    /// In this region.
    pub region: Name,
    /// Reserved there.
    pub resources: Amount,
}

/// An instance that shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The instance.
    pub instance_id: InstanceId,
    /// Why.
    pub cause: StopCause,
}

/// Why an instance goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopCause {
    /// Its deployment is not wanted any more.
    Deployment,
    /// Fewer are wanted.
    Scale,
    /// Its node is being emptied.
    Drain,
    /// Its node was lost and a replacement is ready.
    Replaced,
    /// It has ended by itself.
    Ended,
}

impl StopCause {
    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Scale => "scale",
            Self::Drain => "drain",
            Self::Replaced => "replaced",
            Self::Ended => "ended",
        }
    }
}

/// What found no place in a region, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Of this deployment.
    pub deployment_id: DeploymentId,
    /// Where.
    pub region: Name,
    /// How many.
    pub missing: u32,
    /// "no node in eu-west with 2 GiB free; 3 nodes short by 400 MiB".
    pub explanation: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drains_untold_still_runs_and_is_not_ready() {
        let untold = |state, ready| Phase::of(false, state, ready);
        assert_eq!(untold(State::Running, true), Phase::Ready);
        assert_eq!(untold(State::Running, false), Phase::Coming);
        assert_eq!(untold(State::Draining, true), Phase::Coming);
        assert_eq!(untold(State::Stopped, true), Phase::Ended);
        for state in State::ALL {
            assert_eq!(Phase::of(true, state, true), Phase::Leaving);
        }
    }
}
