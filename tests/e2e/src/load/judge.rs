//! What a load proves. Pure: the same records and deployments give the same verdict.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use api::deployment::DeploymentState;
use chrono::{DateTime, Utc};

use super::{Kind, Outcome, PHASES, Record, Report, Summary};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Violation {
    #[error("{count} × {kind:?}: {reason} (first at {first} through {edge}, after {took:?})")]
    RequestFailed {
        kind: Kind,
        reason: String,
        count: usize,
        first: DateTime<Utc>,
        edge: SocketAddr,
        took: Duration,
    },
    #[error("the platform has counted {failed} failed requests of deployment {number}")]
    CountedAsFailed { number: i64, failed: i64 },
}

/// What became of a load.
pub type Verdict = testkit::verdict::Verdict<Violation>;

/// What a load during deployments must have done to prove anything.
#[derive(Debug, Clone, Copy)]
pub struct Demands {
    /// In all.
    pub requests: usize,
    /// That began in each of [`PHASES`], over all deployments.
    pub in_each_phase: usize,
    /// One after the other.
    pub deployments: usize,
}

/// Judges a load by its records alone: none failed, and there were so many at least.
pub fn judge(summary: &Summary, at_least: usize) -> Verdict {
    Verdict::of(failed(summary), too_few(summary, at_least).collect())
}

/// Judges a load and the deployments that it went on under.
pub fn judge_changes(summary: &Summary, report: &Report, demands: &Demands) -> Verdict {
    let mut wrong = failed(summary);
    wrong.extend(counted_as_failed(report));
    let too_little = too_few(summary, demands.requests)
        .chain(too_few_changes(report, demands.deployments))
        .chain(quiet_phases(report, demands.in_each_phase))
        .chain(uncounted(report));
    Verdict::of(wrong, too_little.collect())
}

fn failed(summary: &Summary) -> Vec<Violation> {
    let mut groups: BTreeMap<(Kind, &str), (usize, &Record)> = BTreeMap::new();
    for record in &summary.records {
        if let Outcome::Failed(reason) = &record.outcome {
            let group = groups
                .entry((record.kind, reason.as_str()))
                .or_insert((0, record));
            group.0 += 1;
        }
    }
    let violation = |((kind, reason), (count, first)): ((Kind, &str), (usize, &Record))| {
        Violation::RequestFailed {
            kind,
            reason: reason.to_owned(),
            count,
            first: first.begun,
            edge: first.edge,
            took: first.took,
        }
    };
    groups.into_iter().map(violation).collect()
}

fn counted_as_failed(report: &Report) -> impl Iterator<Item = Violation> {
    let failing = report.deployments.iter().filter(|d| d.failed_requests != 0);
    failing.map(|deployment| Violation::CountedAsFailed {
        number: deployment.number,
        failed: deployment.failed_requests,
    })
}

fn too_few(summary: &Summary, wanted: usize) -> impl Iterator<Item = String> {
    let found = summary.records.len();
    (found < wanted)
        .then(|| format!("{found} requests, wanted {wanted}"))
        .into_iter()
}

fn too_few_changes(report: &Report, wanted: usize) -> impl Iterator<Item = String> {
    let found = report.deployments.len();
    (found < wanted)
        .then(|| format!("{found} deployments, wanted {wanted}"))
        .into_iter()
}

fn quiet_phases(report: &Report, wanted: usize) -> impl Iterator<Item = String> {
    let begun = |phase: DeploymentState| report.begun.get(phase.as_str()).copied();
    PHASES
        .into_iter()
        .map(move |phase| (phase.as_str(), begun(phase).unwrap_or_default()))
        .filter(move |(_, begun)| *begun < wanted)
        .map(move |(phase, begun)| {
            format!("{begun} requests began in {phase}, wanted {wanted} in each state")
        })
}

/// Who has counted nothing has counted no failure either.
fn uncounted(report: &Report) -> impl Iterator<Item = String> {
    let silent = report.deployments.iter().filter(|d| d.requests == 0);
    silent.map(|d| {
        format!(
            "the platform has counted no request of deployment {}",
            d.number
        )
    })
}

#[cfg(test)]
mod tests {
    use api::deployment::Deployment;

    use super::{
        super::samples::{deployment, request},
        *,
    };

    const DEMANDS: Demands = Demands {
        requests: 5,
        in_each_phase: 1,
        deployments: 1,
    };
    const STEPS: [(&str, f64); 6] = [
        ("placing", 0.0),
        ("starting", 1.0),
        ("verifying", 2.0),
        ("shifting", 3.0),
        ("draining", 4.0),
        ("live", 5.0),
    ];

    /// A request before the change and one in each of its states.
    fn sound() -> (Summary, Deployment) {
        let summary = Summary {
            records: [0.5, 1.5, 2.5, 3.5, 4.5].map(request).into(),
        };
        (summary, deployment(&STEPS))
    }

    fn plant(summary: &mut Summary, at: usize, reason: &str) {
        summary.records[at].outcome = Outcome::Failed(reason.to_owned());
    }

    fn judged(summary: &Summary, deployment: Deployment) -> Verdict {
        let report = Report::of(summary, &[deployment]).unwrap();
        judge_changes(summary, &report, &DEMANDS)
    }

    #[test]
    fn a_load_of_which_nothing_failed_passes() {
        let (summary, deployment) = sound();
        assert_eq!(judge(&summary, 5), Verdict::Pass);
        assert_eq!(judged(&summary, deployment), Verdict::Pass);
    }

    #[test]
    fn a_failed_request_fails_it_with_what_failed_how_often_and_first() {
        let (mut summary, deployment) = sound();
        plant(&mut summary, 1, "a short body");
        plant(&mut summary, 3, "a short body");
        let expected = Violation::RequestFailed {
            kind: Kind::Get1,
            reason: "a short body".to_owned(),
            count: 2,
            first: summary.records[1].begun,
            edge: summary.records[1].edge,
            took: summary.records[1].took,
        };
        let expected = Verdict::Fail(vec![expected]);
        assert_eq!(judge(&summary, 5), expected);
        assert_eq!(judged(&summary, deployment), expected);
        let said = expected.to_string();
        assert!(said.contains("2 × Get1: a short body"), "{said}");
    }

    #[test]
    fn failures_of_two_reasons_are_told_apart() {
        let (mut summary, _) = sound();
        plant(&mut summary, 0, "a short body");
        plant(&mut summary, 1, "status 502");
        assert!(matches!(judge(&summary, 5), Verdict::Fail(wrong) if wrong.len() == 2));
    }

    #[test]
    fn too_few_requests_prove_nothing() {
        let (summary, _) = sound();
        let why = "5 requests, wanted 6".to_owned();
        assert_eq!(judge(&summary, 6), Verdict::Invalid(vec![why]));
    }

    #[test]
    fn a_request_that_failed_is_wrong_also_among_too_few() {
        let (mut summary, _) = sound();
        plant(&mut summary, 4, "no whole answer within 10 s");
        assert!(matches!(judge(&summary, 6), Verdict::Fail(_)));
    }

    #[test]
    fn a_deployment_that_counts_failed_requests_fails_it() {
        let (summary, mut deployment) = sound();
        deployment.failed_requests = 1;
        let expected = Violation::CountedAsFailed {
            number: 2,
            failed: 1,
        };
        assert_eq!(judged(&summary, deployment), Verdict::Fail(vec![expected]));
    }

    #[test]
    fn a_deployment_that_counts_nothing_proves_nothing() {
        let (summary, mut deployment) = sound();
        deployment.requests = 0;
        let why = "the platform has counted no request of deployment 2".to_owned();
        assert_eq!(judged(&summary, deployment), Verdict::Invalid(vec![why]));
    }

    #[test]
    fn a_state_in_which_too_few_requests_began_proves_nothing() {
        for (phase, moved) in PHASES.into_iter().zip(1..) {
            let (mut summary, deployment) = sound();
            // Before the change instead.
            summary.records[moved].begun = summary.records[0].begun;
            let phase = phase.as_str();
            let why = format!("0 requests began in {phase}, wanted 1 in each state");
            assert_eq!(judged(&summary, deployment), Verdict::Invalid(vec![why]));
        }
    }

    #[test]
    fn a_load_without_a_change_proves_nothing_of_changes() {
        let (summary, _) = sound();
        let report = Report::of(&summary, &[]).unwrap();
        let verdict = judge_changes(&summary, &report, &DEMANDS);
        let said = verdict.to_string();
        assert!(matches!(verdict, Verdict::Invalid(_)), "{said}");
        assert!(said.contains("0 deployments, wanted 1"), "{said}");
    }
}
