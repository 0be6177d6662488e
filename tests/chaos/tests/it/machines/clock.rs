//! A process whose clock jumps, and jumps back: the real one under a preloaded `libfaketime`, which reads by
//! how much from a file. Its monotonic clock stays true, as on a machine that is set.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chaos::postgres::Server;
use chrono::{DateTime, TimeDelta, Utc};
use e2e::{platform::Platform, wait};
use serde_json::Value;

use super::log::Tail;

const TRUE: &str = "+0";
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const DATABASE: &str = "postgres";
const WHAT_TIME: &str =
    "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
/// Between a line of a log and its reading, at most.
const BLUR: TimeDelta = TimeDelta::minutes(2);

/// By how much a clock is wrong.
pub type Offset = TimeDelta;

/// A process that is told another time.
pub struct BadClock {
    name: &'static str,
    /// What the supervisor is asked to run.
    wanted: PathBuf,
    before: String,
    file: PathBuf,
    offset: Offset,
    witness: Witness,
}

/// What tells the time that the process goes by.
enum Witness {
    Log(Tail),
    /// It can be asked.
    Database(Server),
}

impl Witness {
    fn of(platform: &Platform, name: &'static str) -> Result<Self> {
        match name {
            DATABASE => Server::of(platform).map(Self::Database),
            _ => Tail::of(platform, name).map(Self::Log),
        }
    }

    async fn times(&self) -> Result<Vec<DateTime<Utc>>> {
        match self {
            Self::Log(log) => log.times(),
            Self::Database(server) => {
                let ask = || server.sql(WHAT_TIME);
                let said = wait::outcome(ANSWERS_WITHIN, ask).await?;
                Ok(vec![said.parse()?])
            }
        }
    }
}

impl BadClock {
    /// Starts it anew with a clock that is still true.
    pub async fn under(platform: &Platform, name: &'static str, offset: Offset) -> Result<Self> {
        let data = platform.status.ca_file.parent();
        let run = data.and_then(Path::parent).context("no run folder")?;
        let wanted = run.join("processes").join(format!("{name}.json"));
        let clock = Self {
            before: fs::read_to_string(&wanted)?,
            file: run.join(format!("{name}.clock")),
            witness: Witness::of(platform, name)?,
            wanted,
            name,
            offset,
        };
        clock.set(TRUE)?;
        clock.becomes(platform, &clock.told_another_time()?).await?;
        let (wrong, _) = clock.count().await?;
        ensure!(wrong == 0, "a true clock was taken for a bad one");
        Ok(clock)
    }

    /// It becomes the program once that has its user: what the library keeps of a process belongs to who begins it.
    fn told_another_time(&self) -> Result<String> {
        let mut process: Value = serde_json::from_str(&self.before)?;
        let argv = process["argv"].as_array_mut();
        let argv = argv.context("a process has arguments")?;
        let words = [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library()?),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        argv.splice(..0, words.map(Value::from));
        Ok(process.to_string())
    }

    fn set(&self, offset: &str) -> Result<()> {
        fs::write(&self.file, offset).context("setting a clock")
    }

    /// In the midst of what it does by now.
    pub fn begin(&self) -> Result<()> {
        self.set(&format!("{:+}", self.offset.num_seconds()))
    }

    /// Insists that it has taken another time for the true one.
    pub async fn insist(&self) -> Result<()> {
        let (wrong, all) = self.count().await?;
        ensure!(
            wrong > 0,
            "an invalid run: of {all} times that {} has told, none was another",
            self.name
        );
        Ok(())
    }

    /// How often it told the time that it was given, and how often any.
    async fn count(&self) -> Result<(usize, usize)> {
        let given = Utc::now() + self.offset;
        let times = self.witness.times().await?;
        let wrong = times.iter().filter(|time| (given - **time).abs() < BLUR);
        Ok((wrong.count(), times.len()))
    }

    /// Back to the truth: into the past for those that were ahead.
    pub fn heal(&self) -> Result<()> {
        self.set(TRUE)
    }

    /// Runs as before.
    pub async fn put_away(self, platform: &Platform) -> Result<()> {
        self.becomes(platform, &self.before).await?;
        fs::remove_file(&self.file).context("forgetting a clock")
    }

    async fn becomes(&self, platform: &Platform, wanted: &str) -> Result<()> {
        let pid = platform.process(self.name).await?.pid;
        let draft = self.wanted.with_extension("new");
        fs::write(&draft, wanted)?;
        fs::rename(&draft, &self.wanted)?;
        // The supervisor, which ends it in good order, may have been sooner.
        let _ = platform.kill(self.name).await;
        wait::outcome(TAKEN_OVER_WITHIN, || async {
            let process = platform.process(self.name).await?;
            ensure!(process.pid != pid, "{} was not started anew", self.name);
            Ok(())
        })
        .await?;
        platform.wait_ready(self.name, pid).await;
        Ok(())
    }
}

/// Wherever the distribution puts it.
fn library() -> Result<String> {
    let folders = fs::read_dir("/usr/lib").context("reading /usr/lib")?;
    let mut files = folders.filter_map(|folder| {
        let file = folder.ok()?.path().join("faketime/libfaketimeMT.so.1");
        file.exists().then(|| file.display().to_string())
    });
    files
        .next()
        .context("no libfaketimeMT.so.1 below /usr/lib; run ./dev setup, which installs faketime")
}
