//! Redeploys and rollbacks under load through both edges: not one request fails, and the deployment
//! record says so.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use api::deployment::{Deployment, DeploymentSource, DeploymentState};
use e2e::{
    load::{ACCEPTANCE_MIX, Load, Summary},
    platform::{Fixture, Platform},
};

use crate::support::{answers_from, hello};

const REQUESTS_AT_LEAST: usize = 20_000;
const BEGUN_IN_EACH_PHASE: usize = 500;
const PHASES: [DeploymentState; 4] = [
    DeploymentState::Starting,
    DeploymentState::Verifying,
    DeploymentState::Shifting,
    DeploymentState::Draining,
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
    for (phase, begun) in begun_in_phases(&summary, &deployments) {
        assert!(
            begun >= BEGUN_IN_EACH_PHASE,
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

fn begun_in_phases(
    summary: &Summary,
    deployments: &[Deployment],
) -> BTreeMap<DeploymentState, usize> {
    let mut begun = BTreeMap::from(PHASES.map(|phase| (phase, 0)));
    for pair in deployments
        .iter()
        .flat_map(|deployment| deployment.steps.windows(2))
    {
        if let Some(count) = begun.get_mut(&pair[0].state) {
            *count += summary.begun_between(pair[0].at, pair[1].at);
        }
    }
    begun
}
