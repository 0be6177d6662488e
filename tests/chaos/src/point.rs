//! Named points of our programs (`crates/failpoint`): a process ends there, or stands still while another one,
//! which it has just dealt with, is killed.

use std::{path::Path, time::Duration};

use anyhow::{Result, bail, ensure};
use chrono::{DateTime, Utc};
use e2e::{
    fault::{Armed, Strike},
    platform::Platform,
    wait,
};
use tokio::time::{Instant, sleep};

use crate::history::Kill;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A point, and the processes one of which comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    name: &'static str,
    processes: &'static [&'static str],
    victim: Victim,
}

/// Who is killed at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// Who has come to the point.
    Itself,
    /// Such as `postgres`.
    Named(&'static str),
    /// Such as `engine`, of the agent that has come to the point.
    OfItsRegion(&'static str),
}

impl Victim {
    fn beside(self, process: &str) -> Option<String> {
        match self {
            Self::Itself => None,
            Self::Named(name) => Some(name.to_owned()),
            Self::OfItsRegion(kind) => {
                let region = process.strip_suffix("-agent")?;
                Some(format!("{region}-{kind}"))
            }
        }
    }
}

impl Point {
    /// One at which the process ends that comes to it; `processes` that a platform does not have are left out.
    #[must_use]
    pub const fn new(name: &'static str, processes: &'static [&'static str]) -> Self {
        Self {
            name,
            processes,
            victim: Victim::Itself,
        }
    }

    /// Kills another process while the one that has come to the point stands still.
    #[must_use]
    pub const fn kills(mut self, process: &'static str) -> Self {
        self.victim = Victim::Named(process);
        self
    }

    /// Likewise one of the same region.
    #[must_use]
    pub const fn kills_of_its_region(mut self, kind: &'static str) -> Self {
        self.victim = Victim::OfItsRegion(kind);
        self
    }

    /// Arms it, waits until it has struck, and until who was killed is back.
    pub async fn strike(self, platform: &Platform, within: Duration) -> Result<Vec<Kill>> {
        let armed = self.arm(platform).await?;
        let at = self.has_struck(&armed, Instant::now() + within).await?;
        let mut kills = Vec::new();
        let struck = armed.iter().filter(|one| one.has_struck());
        let beside = struck
            .clone()
            .find_map(|one| self.victim.beside(&one.process));
        if let Some(victim) = beside {
            let pid = platform.kill(&victim).await?;
            let at = Utc::now();
            is_gone(pid).await?;
            // Who stands still goes on.
            drop(armed);
            kills.push(back(platform, &victim, Some(pid), at).await);
        } else {
            for one in struck {
                kills.push(back(platform, &one.process, one.pid, at).await);
            }
        }
        Ok(kills)
    }

    async fn arm(self, platform: &Platform) -> Result<Vec<Armed>> {
        let strike = match self.victim {
            Victim::Itself => Strike::End,
            Victim::Named(_) | Victim::OfItsRegion(_) => Strike::Hold,
        };
        let mut armed = Vec::new();
        let all = &platform.status.processes;
        let is_here = |name: &&&str| all.iter().any(|process| process.name == **name);
        for process in self.processes.iter().filter(is_here) {
            armed.push(Armed::new(platform, process, self.name, strike).await?);
        }
        Ok(armed)
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

/// Until then its connections are open.
async fn is_gone(pid: i32) -> Result<()> {
    let process = Path::new("/proc").join(pid.to_string());
    wait::outcome(GONE_WITHIN, || async {
        ensure!(!process.exists(), "process {pid} is still there");
        Ok(())
    })
    .await
}

/// The kill of a process, once another of that name is ready.
async fn back(platform: &Platform, process: &str, pid: Option<i32>, at: DateTime<Utc>) -> Kill {
    platform.wait_ready(process, pid).await;
    let region = process.strip_suffix("-edge");
    Kill {
        process: process.to_owned(),
        at,
        back: Some(Utc::now()),
        edge: region.and_then(|region| platform.status.edges.get(region).copied()),
    }
}
