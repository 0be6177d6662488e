//! What the supervisor last saw: written by it alone, read by `status`, `up` and `down`. A process is
//! known by its id *and* its start time, so that a reused id is never taken for ours.

use std::{fs, io::ErrorKind, path::PathBuf};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{plan::Plan, process::write_whole};

/// The supervisor and its processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The supervisor itself.
    pub supervisor: Option<Identity>,
    /// By order, then name.
    pub processes: Vec<Observed>,
}

/// A process of this boot that no other can be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Ticks after boot at which it started.
    pub started: u64,
}

/// One process as the supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its name.
    pub name: String,
    /// Its place in the order of stopping.
    pub order: u32,
    /// The process, while there is one.
    pub identity: Option<Identity>,
    /// What it is doing.
    pub state: Phase,
    /// How often it was started again after it ended or hung.
    pub restarts: u32,
    /// Of the process file that it was started from.
    pub fingerprint: String,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Asked to end.
    Stopping,
    /// Ended; will be started again.
    Waiting,
    /// Kept stopped.
    Held,
}

impl Identity {
    /// The process with that id, when there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold spaces; the state is the first field after it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if self.is_alive() {
            kill(Pid::from_raw(self.pid), signal)
                .with_context(|| format!("sending {signal} to process {}", self.pid))?;
        }
        Ok(())
    }
}

impl State {
    /// What was written last; empty when nothing ever was.
    pub fn read(plan: &Plan) -> Result<Self> {
        let path = path(plan);
        match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// For the readers.
    pub fn write(&self, plan: &Plan) -> Result<()> {
        write_whole(&path(plan), &serde_json::to_string_pretty(self)?)
    }

    /// The supervisor, when it runs.
    pub fn live_supervisor(&self) -> Option<Identity> {
        self.supervisor.filter(|identity| identity.is_alive())
    }

    /// The process of that name.
    pub fn process(&self, name: &str) -> Option<&Observed> {
        self.processes.iter().find(|process| process.name == name)
    }
}

fn path(plan: &Plan) -> PathBuf {
    plan.run().join("state.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_id_and_start_time() {
        let own = Identity::of(std::process::id().cast_signed()).unwrap();
        assert!(own.is_alive());
        let reused = Identity {
            started: own.started + 1,
            ..own
        };
        assert!(!reused.is_alive());
    }

    #[test]
    fn a_process_that_is_not_there_has_no_identity() {
        assert_eq!(Identity::of(i32::MAX), None);
    }
}
