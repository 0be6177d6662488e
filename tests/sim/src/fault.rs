//! Mistakes that can be planted. Each is made by an adapter of the simulation around production code,
//! exactly where a change of production code could make it; a checker that misses one is no checker.

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A node reports a commit as applied when its bytes are verified, before it works by it.
    AcknowledgeBeforeApply,
    /// An instance is told to stop without waiting for the edges.
    DrainBeforeAcknowledge,
    /// Routes leave a region at once with the arrival in another one.
    RegionLeftAtOnce,
    /// A reconciler that once had its lease writes without comparing what it read.
    LeaseWithoutEpoch,
    /// Room on a node is judged by what was read, not in the statement that reserves it.
    CapacityOutsideCompareAndSet,
    /// A reader takes other content of the very position that it has, as if it were newer.
    SameGenerationIsNewer,
    /// The epoch guard serves a node that has other content of the very position that is stored.
    RewrittenIsServed,
    /// A deployment that becomes current brings back the scale with which it was asked for.
    ScaleTakenBack,
    /// What is under way goes on when its service is taken down.
    DownUnheard,
    /// An agent gives each container the first port, whoever has it.
    PortsNotCompared,
    /// A deployment lets go of orphaned instances and not of the routes to them.
    OrphanedRoutesStay,
    /// The next epoch is one more than the last one in the database, although another history may have had it.
    EpochsAreCounted,
    /// What must be alone is replaced when its node is lost, like everything else.
    LostAloneIsReplaced,
    /// A node that is lost is taken for one that is known to be gone.
    LostIsGone,
    /// What a restored database has forgotten is taken back however many there are already.
    EveryOrphanTaken,
    /// After a restore instances are placed before agents have said what they run.
    OrphansNotWaitedFor,
    /// The next ring's turn comes as soon as edges have a version.
    SoakNotWaited,
    /// A ring's soak time begins before its edges have the version.
    RolloutUnacknowledged,
    /// A ring's soak time goes on when an edge of it has started again.
    RestartsUnseen,
    /// A step of a rollout is written although another one was taken since it was decided.
    StepNotCompared,
    /// A newer version begins where an unfinished one has come to.
    UnfinishedStays,
    /// A program renders in the newest version that it knows, whatever the rings are at.
    OlderProgramGoesOn,
    /// A build's end is taken from any node that has once had it.
    OldNodeIsHeard,
    /// A build is given to a node without comparing whether it is as it was read.
    AssignedUncompared,
    /// A node goes on with builds that a restored database has forgotten, or has given to another one.
    StrangersKept,
    /// An agent ends what its documents had, and not what is let go of what they never had.
    LetGoUnheard,
    /// An agent takes for dropped what it remembers and the first document that it reads only lacks.
    LackingIsDropped,
    /// An agent starts by its disk at once, not having heard whether that is the newest.
    StartsUnheard,
    /// Nodes refuse each other's certificates when their time is over, as everybody else does.
    ExpiryRefuses,
    /// What edges show to users is renewed half a day before its end.
    RenewedTooLate,
}

impl Fault {
    /// Whether it shows only where epochs can meet: with a clock that goes, they don't.
    #[must_use]
    pub const fn needs_a_clock_that_stands(self) -> bool {
        matches!(self, Self::RewrittenIsServed | Self::EpochsAreCounted)
    }
}
