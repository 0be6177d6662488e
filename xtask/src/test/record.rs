//! What long runs have done to each commit, added up: `docs/long-runs.json`, checked in. Written after each
//! round, so that a run that is cut off loses one round at most.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::{
    cargo::{git, workspace},
    command::CommandExt as _,
    dev::process::write_whole,
};

const FILE: &str = "docs/long-runs.json";
/// What is no part of the program that was tested.
const WITHOUT_RECORD: &str = ":!docs/long-runs.json";

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
    /// The commit, with `-dirty` behind it when the checkout had changes of its own.
    pub commit: String,
    /// The last round's, RFC 3339.
    pub at: String,
    /// What has passed.
    pub passed: Counts,
    /// The rounds that have not.
    pub failed: Vec<Failure>,
}

/// How much.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Simulated histories.
    pub seeds: u64,
    /// Processes killed.
    pub kills: u64,
    /// Requests during redeploys and rollbacks, none of which failed.
    pub requests: u64,
}

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
    pub fn add(&mut self, commit: &str, done: Counts) {
        let mut tested = self.of(commit);
        tested.passed = tested.passed + done;
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

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            seeds: self.seeds + other.seeds,
            kills: self.kills + other.kills,
            requests: self.requests + other.requests,
        }
    }
}

/// The newest commit that changed anything but the record itself.
pub fn commit() -> Result<String> {
    let mut newest = git(["log", "-1", "--format=%H", "--", ".", WITHOUT_RECORD])?;
    let mut changes = git(["status", "--porcelain", "--", ".", WITHOUT_RECORD])?;
    let commit = newest.read()?.trim().to_owned();
    Ok(if changes.read()?.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    })
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
        let round = Counts {
            seeds: 200,
            ..Counts::default()
        };
        record.add("a", round);
        record.add("b", round);
        record.add_failure("a", "seeds 200..400".to_owned());
        record.add("a", round);
        assert_eq!(record.of("a").passed.seeds, 400);
        assert_eq!(record.of("a").failed.len(), 1);
        assert_eq!(record.of("b").passed.seeds, 200);
        let order: Vec<_> = record.commits.iter().map(|one| &one.commit).collect();
        assert_eq!(order, ["b", "a"]);
    }

    #[test]
    fn the_record_that_is_checked_in_can_be_read() {
        let record = Record::read().unwrap();
        assert_eq!(record.of("no such commit").passed, Counts::default());
    }
}
