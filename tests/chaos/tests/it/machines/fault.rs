//! Which process suffers what, and beside whom.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use e2e::platform::Platform;

use super::{
    clock::{BadClock, Offset},
    disk::{BadDisk, Trouble},
};

/// What goes wrong under one process.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It can't write.
    Disk(&'static str, Trouble),
    /// Its clock jumps by so much, and back.
    Clock(&'static str, Offset),
}

use Fault::{Clock, Disk};
use Trouble::{Full, Hung, ReadOnly};

/// Its process.
pub const REGISTRY: &str = "registry";

const TEN_MINUTES: Offset = TimeDelta::minutes(10);
const TEN_MINUTES_BACK: Offset = TimeDelta::minutes(-10);
const YEAR_AND_MORE: Offset = TimeDelta::days(400);
/// Unless somebody says otherwise (`api_token`).
const TOKENS_LAST: Offset = TimeDelta::days(90);

/// Longer than a lease, and enough for many tries to write.
const LASTS: Duration = Duration::from_secs(12);
/// Longer than a watchdog waits for a sign of life.
const HANGS: Duration = Duration::from_secs(20);

/// All at once, none under the same process as another: each process has each fault that it can have in one of the
/// rounds. The database's are alone: without it there is little else to write, and all others go by its clock.
pub const ROUNDS: [&[Fault]; 20] = [
    &[
        Disk("us-east-agent", Full),
        Disk("eu-west-edge", ReadOnly),
        Disk("control-plane-1", Hung),
        Disk("redis", Full),
    ],
    &[
        Disk("us-east-agent", ReadOnly),
        Disk("eu-west-edge", Hung),
        Disk("control-plane-1", Full),
        Disk("redis", Hung),
    ],
    &[
        Disk("us-east-agent", Hung),
        Disk("eu-west-edge", Full),
        Disk("redis", ReadOnly),
    ],
    &[Disk(REGISTRY, Full)],
    &[Disk(REGISTRY, ReadOnly)],
    &[Disk(REGISTRY, Hung)],
    &[
        Disk("us-east-build-engine", Full),
        Disk("eu-west-build-engine", ReadOnly),
    ],
    &[
        Disk("us-east-build-engine", ReadOnly),
        Disk("eu-west-build-engine", Hung),
    ],
    &[
        Disk("us-east-build-engine", Hung),
        Disk("eu-west-build-engine", Full),
    ],
    &[Disk("us-east-engine", Full), Disk("eu-west-engine", Hung)],
    &[Disk("us-east-engine", Hung), Disk("eu-west-engine", Full)],
    &[Disk("postgres", Full)],
    &[Disk("postgres", ReadOnly)],
    &[Disk("postgres", Hung)],
    &[
        Clock("control-plane-1", TEN_MINUTES),
        Clock("us-east-agent", TEN_MINUTES_BACK),
        Clock("eu-west-edge", YEAR_AND_MORE),
    ],
    &[
        Clock("control-plane-1", TEN_MINUTES_BACK),
        Clock("us-east-agent", YEAR_AND_MORE),
        Clock("eu-west-edge", TEN_MINUTES),
    ],
    &[
        Clock("control-plane-1", YEAR_AND_MORE),
        Clock("us-east-agent", TEN_MINUTES),
        Clock("eu-west-edge", TEN_MINUTES_BACK),
    ],
    &[Clock("postgres", TEN_MINUTES)],
    &[Clock("postgres", TEN_MINUTES_BACK)],
    &[Clock("postgres", YEAR_AND_MORE)],
];

/// A process with a disk or a clock that can be spoiled.
pub enum Machine {
    Disk(BadDisk),
    Clock(BadClock),
}

/// Whether nobody can ask for anything while they last: the database does not write, or all tokens are over by its time.
pub fn takes_the_database(faults: &[Fault]) -> bool {
    let takes_it = |fault: &Fault| match fault {
        Disk(process, _) => *process == "postgres",
        Clock(process, offset) => *process == "postgres" && *offset > TOKENS_LAST,
    };
    faults.iter().any(takes_it)
}

/// Whether a change can be carried through while they last.
pub fn lets_changes_through(faults: &[Fault]) -> bool {
    !takes_the_database(faults) && faults.iter().all(|fault| matches!(fault, Clock(..)))
}

/// Whether builds can't end while they last, wherever they are done.
pub fn keeps_builds_waiting(faults: &[Fault]) -> bool {
    let takes_it = |fault: &Fault| {
        let process = fault.process();
        process == REGISTRY || process.ends_with("-build-engine")
    };
    faults.iter().any(takes_it)
}

/// Whether what was asked for meanwhile is begun only when they are over, and by who has waited longer from try to try.
pub fn delays_what_was_asked(faults: &[Fault]) -> bool {
    let delays = |fault: &Fault| match fault {
        Disk(process, _) => process.ends_with("engine") || process.ends_with("-agent"),
        Clock(..) => false,
    };
    keeps_builds_waiting(faults) || faults.iter().any(delays)
}

/// How long they last.
pub fn duration(faults: &[Fault]) -> Duration {
    match faults.iter().any(Fault::hangs) {
        true => HANGS,
        false => LASTS,
    }
}

/// The processes under which a disk hangs, and as which they run: nobody ends them for it.
pub async fn hanging(
    platform: &Platform,
    faults: &[Fault],
) -> Result<Vec<(&'static str, Option<i32>)>> {
    let mut processes = Vec::new();
    for fault in faults.iter().filter(|fault| fault.hangs()) {
        let pid = platform.process(fault.process()).await?.pid;
        processes.push((fault.process(), pid));
    }
    Ok(processes)
}

impl Fault {
    const fn hangs(&self) -> bool {
        matches!(self, Disk(_, Hung))
    }

    pub const fn process(self) -> &'static str {
        match self {
            Disk(process, _) | Clock(process, _) => process,
        }
    }

    pub async fn prepare(self, platform: &Platform) -> Result<Machine> {
        let machine = match self {
            Disk(process, trouble) => {
                let disk = BadDisk::under(platform, process, trouble).await;
                disk.map(Machine::Disk)
            }
            Clock(process, offset) => {
                let clock = BadClock::under(platform, process, offset).await;
                clock.map(Machine::Clock)
            }
        };
        machine.with_context(|| format!("preparing {self:?}"))
    }
}

impl Machine {
    pub async fn begin(&self, platform: &Platform) -> Result<()> {
        match self {
            Self::Disk(disk) => disk.begin(platform).await,
            Self::Clock(clock) => clock.begin(),
        }
    }

    pub fn is_begun_with(&self) -> bool {
        match self {
            Self::Disk(disk) => disk.is_begun_with(),
            Self::Clock(_) => true,
        }
    }

    pub async fn worsen(&self) -> Result<()> {
        match self {
            Self::Disk(disk) => disk.worsen().await,
            Self::Clock(_) => Ok(()),
        }
    }

    pub async fn insist(&self) -> Result<()> {
        match self {
            Self::Disk(disk) => disk.insist().await,
            Self::Clock(clock) => clock.insist().await,
        }
    }

    pub async fn heal(&self) -> Result<()> {
        match self {
            Self::Disk(disk) => disk.heal().await,
            Self::Clock(clock) => clock.heal(),
        }
    }

    pub async fn put_away(self, platform: &Platform) -> Result<()> {
        match self {
            Self::Disk(disk) => disk.put_away(platform).await,
            Self::Clock(clock) => clock.put_away(platform).await,
        }
    }
}
