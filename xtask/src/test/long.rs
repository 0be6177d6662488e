//! `./dev test --long`: the full counts, in rounds that take turns. What has passed is remembered by
//! commit, so that a run may be cut off at any moment and gone on with later.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    platform::TestPlatform,
    record::{self, Counts, Record},
};
use crate::{
    cargo::{cargo, target_dir},
    command::CommandExt as _,
    output::say,
};

const FULL: Counts = Counts {
    seeds: 10_000,
    kills: 600,
    requests: 200_000,
};
const SEEDS_AT_A_TIME: u64 = 200;

/// What takes turns; each turn costs a minute or three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Seeds,
    Kills,
    Load,
}

/// Goes on until the full counts are met or the time is over.
pub fn run(limit: Option<Duration>) -> Result<()> {
    let began = Instant::now();
    cargo(["nextest", "run", "--workspace", "--no-run"])?.run()?;
    let commit = record::commit()?;
    let platform = TestPlatform::start()?;
    let goes_on = || limit.is_none_or(|limit| began.elapsed() < limit);
    let outcome = rounds(&commit, &platform, goes_on);
    platform.end()?;
    outcome
}

fn rounds(commit: &str, platform: &TestPlatform, goes_on: impl Fn() -> bool) -> Result<()> {
    for turn in 0.. {
        let mut record = Record::read()?;
        let passed = record.of(commit).passed;
        say!(
            "{commit}: {} of {} seeds, {} of {} kills, {} of {} requests",
            passed.seeds,
            FULL.seeds,
            passed.kills,
            FULL.kills,
            passed.requests,
            FULL.requests
        );
        let Some(round) = next(passed, turn).filter(|_| goes_on()) else {
            break;
        };
        match round.run(passed, platform) {
            Ok(done) => record.add(commit, done),
            Err(error) => {
                record.add_failure(commit, round.name(passed));
                record.write()?;
                return Err(error.context(round.name(passed)));
            }
        }
        record.write()?;
    }
    Ok(())
}

/// Whose turn it is of those that lack something.
fn next(passed: Counts, turn: usize) -> Option<Round> {
    let lacking = [
        (Round::Seeds, passed.seeds < FULL.seeds),
        (Round::Kills, passed.kills < FULL.kills),
        (Round::Load, passed.requests < FULL.requests),
    ];
    let turns: Vec<_> = lacking.iter().filter(|(_, lacks)| *lacks).collect();
    let index = turn.checked_rem(turns.len())?;
    turns.get(index).map(|(round, _)| *round)
}

impl Round {
    fn run(self, passed: Counts, platform: &TestPlatform) -> Result<Counts> {
        match self {
            Self::Seeds => seeds(passed.seeds),
            Self::Kills => kills(platform),
            Self::Load => load(platform),
        }
    }

    fn name(self, passed: Counts) -> String {
        match self {
            Self::Seeds => format!(
                "SIM_FIRST_SEED={} SIM_SEEDS={SEEDS_AT_A_TIME}",
                passed.seeds
            ),
            Self::Kills => {
                let report = read("chaos/kills.json").unwrap_or_default();
                let seed = report["seed"].as_str().unwrap_or("unknown");
                format!("RAILHEAD_CHAOS_SEED={seed}")
            }
            Self::Load => "redeploys and rollbacks under load".to_owned(),
        }
    }
}

/// Those that follow what has passed.
fn seeds(first: u64) -> Result<Counts> {
    nextest("package(sim) and test(every_seed)", |run| {
        run.env("SIM_FIRST_SEED", first.to_string())
            .env("SIM_SEEDS", SEEDS_AT_A_TIME.to_string());
    })?;
    Ok(Counts {
        seeds: SEEDS_AT_A_TIME,
        ..Counts::default()
    })
}

/// A tenth of them at a time.
fn kills(platform: &TestPlatform) -> Result<Counts> {
    forget("chaos/kills.json")?;
    nextest("package(chaos) and test(whatever_is_killed)", |run| {
        run.env("RAILHEAD_DEV_DIR", platform.dir());
    })?;
    let report = read("chaos/kills.json")?;
    let kinds = report["kills"].as_object().context("kills by kind")?;
    Ok(Counts {
        kills: kinds.values().filter_map(Value::as_u64).sum(),
        ..Counts::default()
    })
}

fn load(platform: &TestPlatform) -> Result<Counts> {
    forget("load/changes.json")?;
    nextest("package(e2e) and test(redeploys_and_rollbacks)", |run| {
        run.env("RAILHEAD_DEV_DIR", platform.dir());
    })?;
    let requests = read("load/changes.json")?["requests"].as_u64();
    Ok(Counts {
        requests: requests.context("a number of requests")?,
        ..Counts::default()
    })
}

fn nextest(filter: &str, prepare: impl Fn(&mut std::process::Command)) -> Result<()> {
    let mut run = cargo(["nextest", "run", "--workspace", "-E", filter])?;
    prepare(&mut run);
    run.run()
}

/// What the test has written of its run.
fn read(report: &str) -> Result<Value> {
    let file = target_dir()?.join(report);
    let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
}

/// So that an older run's is not taken for this one's.
fn forget(report: &str) -> Result<()> {
    let file = target_dir()?.join(report);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_something_takes_turns_until_nothing_does() {
        let none = Counts::default();
        let turns: Vec<_> = (0..4).map(|turn| next(none, turn)).collect();
        let [seeds, kills, load] = [Round::Seeds, Round::Kills, Round::Load].map(Some);
        assert_eq!(turns, [seeds, kills, load, seeds]);
        let no_kills = Counts { kills: 0, ..FULL };
        assert!((0..3).all(|turn| next(no_kills, turn) == kills));
        assert_eq!(next(FULL, 0), None);
    }
}
