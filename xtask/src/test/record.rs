//! What long runs have done to each commit, added up: `docs/long-runs.json`, checked in. Written after each
//! round, so that a run that is cut off loses one round at most.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::{
    cargo::{git, workspace},
    command::CommandExt as _,
    dev::process::write_whole,
};

const FILE: &str = "docs/long-runs.json";
/// What makes what is tested, and the tests. A commit of documents alone leaves the counts valid.
const TESTED: [&str; 4] = [".", ":!docs", ":!*.md", ":!LICENSE"];

/// All of it, the newest commit last.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// By commit.
    pub commits: Vec<Tested>,
}

/// What was done to one commit.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// The newest commit that changed anything but documents.
    pub commit: String,
    /// The last round's, RFC 3339.
    pub at: String,
    /// What has passed.
    pub passed: Counts,
    /// The rounds that have not.
    pub failed: Vec<Failure>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Poisoned feeds sent to a node that took no harm.
    PoisonedFeeds,
    /// Poisoned feeds sent to real agents' and edges' processes, none of which took harm.
    PoisonedProcesses,
    /// Simulated days without anything central, no request failed.
    SimulatedDays,
    /// Simulated histories, no promise broken.
    Seeds,
    /// Seconds in which real control planes and their database were away.
    OutageSeconds,
    /// Requests during these, none failed.
    OutageRequests,
    /// Redeploys under load.
    Redeploys,
    /// Rollbacks under load.
    Rollbacks,
    /// Requests during these, none failed.
    Requests,
    /// Processes ended by SIGKILL at random moments, nothing lost, doubled or left over.
    Kills,
    /// Of these, those that met a deployment in its shortest step.
    KillsWhileReleasing,
    /// Of these, those that met a rollback in this step.
    KillsWhileRollbackPlaces,
    /// As the last.
    KillsWhileRollbackStarts,
    /// As the last.
    KillsWhileRollbackVerifies,
    /// As the last.
    KillsWhileRollbackShifts,
    /// As the last.
    KillsWhileRollbackDrains,
    /// Of these, those that met a change of scale.
    KillsWhileScaling,
    /// Named points of programs at which they were ended, with the same outcome.
    NamedPoints,
    /// Deployments that ended while processes were killed.
    FaultedDeployments,
    /// Of these, failed for the platform's own reasons: one of a thousand may.
    PlatformFailures,
    /// Processes that were ready again in time after SIGKILL.
    ReadyAgain,
    /// Faults of networks and standing processes that users were served through.
    NetworkFaults,
    /// Rounds of bad disks and clocks, the same.
    MachineRounds,
}

/// How much of it; nothing of what is not named.
pub type Counts = BTreeMap<Counted, u64>;

/// A round that did not pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// RFC 3339.
    pub at: String,
    /// How to see it again.
    pub round: String,
}

impl Record {
    /// As it was left.
    pub fn read() -> Result<Self> {
        let file = file()?;
        match fs::read_to_string(&file) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }

    /// Leaves it.
    pub fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        write_whole(&file()?, &format!("{text}\n"))
    }

    /// What was done to this commit.
    pub fn of(&self, commit: &str) -> Tested {
        let mut all = self.commits.iter();
        let found = all.find(|tested| tested.commit == commit).cloned();
        found.unwrap_or_else(|| Tested {
            commit: commit.to_owned(),
            ..Tested::default()
        })
    }

    /// A round passed.
    pub fn add(&mut self, commit: &str, done: &Counts) {
        let mut tested = self.of(commit);
        for (what, count) in done {
            *tested.passed.entry(*what).or_default() += count;
        }
        self.put(tested);
    }

    /// A round failed.
    pub fn add_failure(&mut self, commit: &str, round: String) {
        let mut tested = self.of(commit);
        let at = Utc::now().to_rfc3339();
        tested.failed.push(Failure { at, round });
        self.put(tested);
    }

    fn put(&mut self, mut tested: Tested) {
        tested.at = Utc::now().to_rfc3339();
        self.commits.retain(|other| other.commit != tested.commit);
        self.commits.push(tested);
    }
}

/// The newest commit that changed anything but documents. A checkout with changes of its own is no commit,
/// and nothing could be added up for it.
pub fn commit() -> Result<String> {
    let changes = git(["status", "--porcelain", "--"].into_iter().chain(TESTED))?.read()?;
    ensure!(
        changes.is_empty(),
        "this checkout has changes, but long runs are added up by commit; commit them first:\n{changes}"
    );
    let newest = ["log", "-1", "--format=%H", "--"].into_iter();
    Ok(git(newest.chain(TESTED))?.read()?.trim().to_owned())
}

fn file() -> Result<PathBuf> {
    Ok(workspace()?.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_one_commit_add_up_and_others_stay() {
        let mut record = Record::default();
        let round = Counts::from([(Counted::Seeds, 200), (Counted::Kills, 3)]);
        record.add("a", &round);
        record.add("b", &round);
        record.add_failure("a", "seeds 200..400".to_owned());
        record.add("a", &Counts::from([(Counted::Seeds, 50)]));
        let passed = record.of("a").passed;
        assert_eq!(passed[&Counted::Seeds], 250);
        assert_eq!(passed[&Counted::Kills], 3);
        assert_eq!(record.of("a").failed.len(), 1);
        assert_eq!(record.of("b").passed, round);
        let order: Vec<_> = record.commits.iter().map(|one| &one.commit).collect();
        assert_eq!(order, ["b", "a"]);
    }

    #[test]
    fn the_record_that_is_checked_in_can_be_read() {
        let record = Record::read().unwrap();
        assert_eq!(record.of("no such commit").passed, Counts::default());
    }
}
