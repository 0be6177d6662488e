//! The full counts that the project has promised, and how much may go wrong among them.

use anyhow::{Result, ensure};

use super::record::{Counted, Counts};

/// Of so many deployments one may fail for the platform's own reasons; fewer show nothing.
const FEW: u64 = 1_000;

/// The full counts of the project's bars.
pub const FULL: [(Counted, u64); 22] = [
    (Counted::PoisonedFeeds, 10_000),
    (Counted::PoisonedProcesses, 10_000),
    (Counted::SimulatedDays, 30),
    (Counted::Seeds, 10_000),
    (Counted::OutageSeconds, 600),
    (Counted::OutageRequests, 100_000),
    (Counted::Redeploys, 20),
    (Counted::Rollbacks, 20),
    (Counted::Requests, 200_000),
    (Counted::Kills, 600),
    (Counted::KillsWhileReleasing, 1),
    (Counted::KillsWhileRollbackPlaces, 1),
    (Counted::KillsWhileRollbackStarts, 1),
    (Counted::KillsWhileRollbackVerifies, 1),
    (Counted::KillsWhileRollbackShifts, 1),
    (Counted::KillsWhileRollbackDrains, 1),
    (Counted::KillsWhileScaling, 1),
    (Counted::NamedPoints, 26),
    (Counted::FaultedDeployments, FEW),
    (Counted::ReadyAgain, 30),
    (Counted::NetworkFaults, 18),
    (Counted::MachineRounds, 20),
];

/// How much of something there is.
pub fn count(counts: &Counts, what: Counted) -> u64 {
    counts.get(&what).copied().unwrap_or_default()
}

/// How much of something a run must have, with this full count and what has passed: deployments go on until those that
/// failed for the platform's own reasons are few among them.
pub fn wanted(counts: &Counts, what: Counted, full: u64) -> u64 {
    match what {
        Counted::FaultedDeployments => full.max(FEW * count(counts, Counted::PlatformFailures)),
        _ => full,
    }
}

/// No more than one of a thousand deployments may have failed for the platform's own reasons.
pub fn ensure_few_failed(passed: &Counts) -> Result<()> {
    let failed = count(passed, Counted::PlatformFailures);
    let ended = count(passed, Counted::FaultedDeployments);
    ensure!(
        ended < FEW || failed * FEW <= ended,
        "{failed} of {ended} deployments failed for the platform's own reasons: one of {FEW} may"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thousand_deployments_may_fail_by_the_platform() {
        let passed = |ended, failed| {
            Counts::from([
                (Counted::FaultedDeployments, ended),
                (Counted::PlatformFailures, failed),
            ])
        };
        assert!(ensure_few_failed(&passed(999, 3)).is_ok());
        assert!(ensure_few_failed(&passed(1_000, 1)).is_ok());
        assert!(ensure_few_failed(&passed(1_999, 2)).is_err());
        let wanted = |failed| wanted(&passed(0, failed), Counted::FaultedDeployments, FEW);
        assert_eq!([0, 1, 3].map(wanted), [FEW, FEW, 3 * FEW]);
    }
}
