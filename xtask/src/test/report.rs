//! What a test has written of its run (`target/load`, `target/chaos`), and what of it counts.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::record::{Counted, Counts};
use crate::cargo::target_dir;

/// What a round's kills may miss, but all rounds' together may not, and where a report says how many met it: it leaves
/// out what none met.
const MET: [(&str, Counted); 7] = [
    ("/kills_during/releasing", Counted::KillsWhileReleasing),
    (
        "/kills_during_rollbacks/placing",
        Counted::KillsWhileRollbackPlaces,
    ),
    (
        "/kills_during_rollbacks/starting",
        Counted::KillsWhileRollbackStarts,
    ),
    (
        "/kills_during_rollbacks/verifying",
        Counted::KillsWhileRollbackVerifies,
    ),
    (
        "/kills_during_rollbacks/shifting",
        Counted::KillsWhileRollbackShifts,
    ),
    (
        "/kills_during_rollbacks/draining",
        Counted::KillsWhileRollbackDrains,
    ),
    ("/kills_during_a/scale", Counted::KillsWhileScaling),
];

/// How often kills met each of these.
pub fn met(report: &Value) -> Counts {
    let of_all = MET.map(|(place, what)| {
        let met = report.pointer(place).and_then(Value::as_u64);
        (what, met.unwrap_or_default())
    });
    Counts::from(of_all)
}

/// So much of something, and the deployments that ended meanwhile.
pub fn with_deployments(report: &Value, what: Counted, count: u64) -> Option<Counts> {
    let number = |name: &str| report[name].as_u64();
    Some(Counts::from([
        (what, count),
        (Counted::FaultedDeployments, number("deployments_ended")?),
        (
            Counted::PlatformFailures,
            number("deployments_failed_by_the_platform")?,
        ),
    ]))
}

/// Of a list.
pub fn length(report: &Value, list: &str) -> Option<u64> {
    u64::try_from(report[list].as_array()?.len()).ok()
}

/// Those made for this reason.
pub fn deployments(report: &Value, reason: &str) -> Option<u64> {
    let all = report["deployments"].as_array()?.iter();
    let such = all.filter(|deployment| deployment["reason"] == reason);
    u64::try_from(such.count()).ok()
}

/// What the test has written of its run.
pub fn read(report: &str) -> Result<Value> {
    let file = target_dir()?.join(report);
    let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
}

/// So that an older run's is not taken for this one's.
pub fn forget(report: &str) -> Result<()> {
    let file = target_dir()?.join(report);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}
