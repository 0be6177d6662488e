//! Named points of our programs at which they end, as `crates/failpoint` has them: armed by a file, which is
//! gone once the point has struck.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, Utc};
use e2e::platform::Platform;
use tokio::time::{Instant, sleep};

use crate::history::Kill;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A point, and the processes one of which comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// As the program calls it.
    pub name: &'static str,
    /// Such as `us-east-agent`; those that a platform does not have are left out.
    pub processes: &'static [&'static str],
}

/// A point that is armed in one process; disarmed when this is dropped.
struct Armed {
    process: &'static str,
    file: PathBuf,
    pid: Option<i32>,
}

impl Point {
    /// Arms it, waits until it has struck in some process, and until that is back.
    pub async fn strike(self, platform: &Platform, within: Duration) -> Result<Vec<Kill>> {
        let mut armed = Vec::new();
        let all = &platform.status.processes;
        let is_here = |name: &&&str| all.iter().any(|process| process.name == **name);
        for process in self.processes.iter().filter(is_here) {
            armed.push(Armed::new(platform, process, self.name).await?);
        }
        let at = self.has_struck(&armed, Instant::now() + within).await?;
        let mut kills = Vec::new();
        for one in armed.into_iter().filter(Armed::has_struck) {
            platform.wait_ready(one.process, one.pid).await;
            kills.push(kill(platform, one.process, at));
        }
        Ok(kills)
    }

    /// The last moment at which it had not.
    async fn has_struck(self, armed: &[Armed], deadline: Instant) -> Result<DateTime<Utc>> {
        let mut at = Utc::now();
        while !armed.iter().any(Armed::has_struck) {
            if Instant::now() > deadline {
                bail!(
                    "an invalid run: nobody of {:?} came to {}",
                    self.processes,
                    self.name
                );
            }
            at = Utc::now();
            sleep(LOOK_EVERY).await;
        }
        Ok(at)
    }
}

impl Armed {
    async fn new(platform: &Platform, process: &'static str, point: &str) -> Result<Self> {
        let pid = platform.process(process).await?.pid;
        let data = platform.status.ca_file.parent();
        let run = data.and_then(Path::parent).context("no run folder")?;
        let folder = run.join("failpoints").join(process);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join(point);
        fs::write(&file, "").with_context(|| format!("arming {}", file.display()))?;
        Ok(Self { process, file, pid })
    }

    fn has_struck(&self) -> bool {
        !self.file.exists()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Mostly it has struck and is gone.
        let _ = fs::remove_file(&self.file);
    }
}

fn kill(platform: &Platform, process: &str, at: DateTime<Utc>) -> Kill {
    let region = process.strip_suffix("-edge");
    Kill {
        process: process.to_owned(),
        at,
        back: Some(Utc::now()),
        edge: region.and_then(|region| platform.status.edges.get(region).copied()),
    }
}
