//! A process that stands still for longer than its leases, and then goes on as if nothing had been.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::platform::Platform;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::sleep;

/// Longer than a lease (10 s), shorter than the supervisor lets a silent process live (15 s).
const STANDS_STILL: Duration = Duration::from_secs(12);

/// Goes on when this is dropped.
pub struct Paused {
    pid: Pid,
    name: String,
}

impl Paused {
    /// The first process whose name begins so.
    pub fn new(platform: &Platform, name: &str) -> Result<Self> {
        let mut all = platform.status.processes.iter();
        let process = all
            .find(|process| process.name.starts_with(name))
            .with_context(|| format!("no {name}"))?;
        let pid = process
            .pid
            .with_context(|| format!("{name} is not running"))?;
        Ok(Self {
            pid: Pid::from_raw(pid),
            name: process.name.clone(),
        })
    }

    /// Stops it, in the midst of what it does by now.
    pub async fn stand_still(&self) -> Result<()> {
        kill(self.pid, Signal::SIGSTOP).with_context(|| format!("stopping {}", self.name))?;
        sleep(STANDS_STILL).await;
        Ok(())
    }

    /// Insists that it was the same process all the time.
    pub fn go_on(&self) -> Result<()> {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .with_context(|| format!("an invalid run: {} was ended meanwhile", self.name))?;
        let stopped = state
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" T"));
        ensure!(stopped, "an invalid run: {} did not stand still", self.name);
        kill(self.pid, Signal::SIGCONT).with_context(|| format!("waking {}", self.name))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been ended: then there is nothing to go on.
        let _ = kill(self.pid, Signal::SIGCONT);
    }
}
