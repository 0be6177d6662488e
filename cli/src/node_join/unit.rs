//! What systemd is asked about units, and to do with them.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    error::{Error, Result},
    plan, system,
};

/// An edge gives its successor 60 s.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(75);
const LOOK: Duration = Duration::from_millis(50);
/// An edge's status begins so when its successor has failed.
const NOT_HANDED_OVER: &str = "nothing was handed over";

/// How a unit comes to use what has changed; of two ways the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renewal {
    /// Its process hands over to a new one; nobody notices.
    HandOver,
    /// It ends, and starts again.
    Restart,
}

impl Renewal {
    /// After a change of its program or configuration.
    pub fn of(unit: &str) -> Self {
        match unit {
            plan::EDGE => Self::HandOver,
            _ => Self::Restart,
        }
    }

    /// Does it; says what was done.
    pub fn apply(self, unit: &'static str) -> Result<String> {
        match self {
            Self::HandOver => hand_over(unit).map(|()| format!("handed over unit {unit}")),
            Self::Restart => restart(unit).map(|()| format!("restarted unit {unit}")),
        }
    }
}

pub fn is_active(unit: &str) -> bool {
    system::succeeds("systemctl", &["is-active", "--quiet", unit])
}

pub fn is_enabled(unit: &str) -> bool {
    system::succeeds("systemctl", &["is-enabled", "--quiet", unit])
}

/// Now, and with the machine.
pub fn start(unit: &'static str) -> Result {
    system::run("systemctl", &["enable", "--quiet", unit])?;
    if system::succeeds("systemctl", &["start", unit]) {
        return Ok(());
    }
    Err(does_not_start(unit))
}

fn restart(unit: &'static str) -> Result {
    if system::succeeds("systemctl", &["restart", unit]) {
        return Ok(());
    }
    Err(does_not_start(unit))
}

/// Returns when the new process is the unit's, or will not be.
fn hand_over(unit: &'static str) -> Result {
    let before = property(unit, "MainPID")?;
    system::run("systemctl", &["reload", unit])?;
    let asked = Instant::now();
    loop {
        let status = property(unit, "StatusText")?;
        if property(unit, "MainPID")? != before && is_active(unit) {
            return Ok(());
        }
        if status.starts_with(NOT_HANDED_OVER) || asked.elapsed() > HANDED_OVER_WITHIN {
            return Err(Error::NotHandedOver { unit, status });
        }
        thread::sleep(LOOK);
    }
}

fn property(unit: &str, name: &str) -> Result<String> {
    let shown = system::run("systemctl", &["show", "--value", "--property", name, unit])?;
    Ok(shown.trim().to_owned())
}

fn does_not_start(unit: &'static str) -> Error {
    let journal = ["-u", unit, "-n", "3", "-o", "cat", "--no-pager", "--quiet"];
    let said = system::run("journalctl", &journal).unwrap_or_default();
    let last_words = match said.trim() {
        "" => "its journal is empty".to_owned(),
        said => said.to_owned(),
    };
    Error::Unit { unit, last_words }
}
