//! What a load has measured while deployments went by: exact counts, by kind and by the deployments' own
//! steps, and what the machine was doing. Written to a file, so that figures in documents have a source.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use api::deployment::{Deployment, DeploymentReason, DeploymentState};
use serde::Serialize;

use super::{Kind, Outcome, Summary};

/// The states in which a change can hurt requests.
pub const PHASES: [DeploymentState; 4] = [
    DeploymentState::Starting,
    DeploymentState::Verifying,
    DeploymentState::Shifting,
    DeploymentState::Draining,
];

/// Of one load and the deployments during it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How many there were.
    pub requests: usize,
    /// How many failed.
    pub failed: usize,
    /// Why, and how often.
    pub failures: BTreeMap<String, usize>,
    /// How many began in each of [`PHASES`], over all deployments.
    pub begun: BTreeMap<&'static str, usize>,
    /// One after the other.
    pub deployments: Vec<Change>,
    /// Time to the whole answer.
    pub kinds: Vec<Latency>,
    /// As `/proc/loadavg` says at the end: runnable tasks over 1, 5 and 15 minutes.
    pub load_average: String,
    /// Of the machine that everything shared.
    pub processors: usize,
}

/// One deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Of the service.
    pub number: i64,
    /// Redeploy or rollback.
    pub reason: DeploymentReason,
    /// How long each state lasted.
    pub seconds: BTreeMap<&'static str, f64>,
    /// How many requests began in each of [`PHASES`].
    pub begun: BTreeMap<&'static str, usize>,
    /// As the platform has counted them.
    pub requests: i64,
    /// As the platform has counted them.
    pub failed_requests: i64,
}

/// Of one kind of request.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Which.
    pub kind: Kind,
    /// How many there were.
    pub requests: usize,
    /// In milliseconds.
    pub p50: f64,
    /// In milliseconds.
    pub p99: f64,
    /// In milliseconds.
    pub max: f64,
}

impl Report {
    /// Counts; a request belongs to a step if it began between its start and that of the next one.
    pub fn of(summary: &Summary, deployments: &[Deployment]) -> Result<Self> {
        let deployments: Vec<Change> = deployments.iter().map(|d| change(summary, d)).collect();
        let sum = |phase: DeploymentState| {
            let all = deployments
                .iter()
                .filter_map(|d| d.begun.get(phase.as_str()));
            (phase.as_str(), all.sum())
        };
        let mut failures = BTreeMap::new();
        for record in summary.failed() {
            if let Outcome::Failed(reason) = &record.outcome {
                *failures
                    .entry(format!("{:?}: {reason}", record.kind))
                    .or_default() += 1;
            }
        }
        Ok(Self {
            requests: summary.records.len(),
            failed: summary.failed().count(),
            failures,
            begun: PHASES.into_iter().map(sum).collect(),
            deployments,
            kinds: Kind::ALL.into_iter().map(|k| latency(summary, k)).collect(),
            load_average: fs::read_to_string("/proc/loadavg")?.trim().to_owned(),
            processors: std::thread::available_parallelism()?.get(),
        })
    }

    /// Keeps it, as [`write()`] does.
    pub fn write(&self, name: &str) -> Result<PathBuf> {
        write(name, self)
    }
}

/// Keeps figures as `load/NAME.json` in the target folder that this program was built in.
pub fn write(name: &str, figures: &impl Serialize) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("no target folder")?;
    let folder = target.join("load");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_vec_pretty(figures)?)
        .with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn change(summary: &Summary, deployment: &Deployment) -> Change {
    let mut seconds = BTreeMap::new();
    let mut begun = BTreeMap::new();
    for pair in deployment.steps.windows(2) {
        let [step, next] = pair else { continue };
        let state = step.state.as_str();
        let lasted = (next.at - step.at).to_std().unwrap_or_default();
        seconds.insert(state, lasted.as_secs_f64());
        if PHASES.contains(&step.state) {
            begun.insert(state, summary.begun_between(step.at, next.at));
        }
    }
    Change {
        number: deployment.number,
        reason: deployment.reason,
        seconds,
        begun,
        requests: deployment.requests,
        failed_requests: deployment.failed_requests,
    }
}

fn latency(summary: &Summary, kind: Kind) -> Latency {
    let mut times: Vec<Duration> = summary.of(kind).map(|record| record.took).collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let index = times.len().saturating_sub(1) * percent / 100;
        let time = times.get(index).copied().unwrap_or_default();
        time.as_secs_f64() * 1_000.0
    };
    Latency {
        kind,
        requests: times.len(),
        p50: at(50),
        p99: at(99),
        max: at(100),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            failed,
            processors,
            load_average,
            ..
        } = self;
        writeln!(
            f,
            "{requests} requests, {failed} failed; {processors} processors, load {load_average}"
        )?;
        for (reason, count) in &self.failures {
            writeln!(f, "  {count} × {reason}")?;
        }
        for phase in PHASES.map(DeploymentState::as_str) {
            let begun = self.begun.get(phase).copied().unwrap_or_default();
            writeln!(f, "  {begun:>6} began in {phase}")?;
        }
        for kind in &self.kinds {
            let Latency {
                requests,
                p50,
                p99,
                max,
                ..
            } = kind;
            writeln!(
                f,
                "  {requests:>6} × {:?}: p50 {p50:.1} ms, p99 {p99:.1} ms, at most {max:.1} ms",
                kind.kind
            )?;
        }
        for change in &self.deployments {
            let steps: Vec<String> = change
                .seconds
                .iter()
                .map(|(s, t)| format!("{s} {t:.2} s"))
                .collect();
            let (number, failed) = (change.number, change.failed_requests);
            writeln!(
                f,
                "  deployment {number}: {failed} of {} failed; {}",
                change.requests,
                steps.join(", ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{deployment, request},
        *,
    };

    #[test]
    fn a_request_counts_for_the_step_in_which_it_began_and_for_no_other() {
        let summary = Summary {
            records: [0.5, 1.0, 1.5, 2.0, 4.9, 5.0, 6.0].map(request).into(),
        };
        let steps = [
            ("placing", 0.0),
            ("starting", 1.0),
            ("verifying", 2.0),
            ("shifting", 3.0),
            ("draining", 4.0),
            ("live", 5.0),
        ];
        let report = Report::of(&summary, &[deployment(&steps)]).unwrap();
        let begun: Vec<_> = report.begun.into_iter().collect();
        let expected = [
            ("draining", 1),
            ("shifting", 0),
            ("starting", 2),
            ("verifying", 1),
        ];
        assert_eq!(begun, expected);
    }
}
