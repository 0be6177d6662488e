//! Changes that tenants ask for meanwhile, and what becomes of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::deployment::{CreateDeployment, Deployment, DeploymentSource, DeploymentState};
use chaos::history::{Answer, Write};
use domain::id::{DeploymentId, ServiceId};
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use tokio::time::{Instant, sleep};

const ASKED_WITHIN: Duration = Duration::from_secs(30);
const CHANGED_WITHIN: Duration = Duration::from_secs(60);

/// Who was told of which deployments.
pub type Told = Vec<Write<ServiceId, DeploymentId>>;

/// The same image again.
pub const fn again() -> Option<DeploymentSource> {
    Some(DeploymentSource::Current)
}

/// Again until it is acknowledged: one of the control planes may not be able to.
pub async fn ask(
    platform: &Platform,
    fixture: &Fixture,
    told: &mut Told,
    source: Option<DeploymentSource>,
) -> Result<Deployment> {
    let service = fixture.service.id;
    let path = format!("/v1/services/{service}/deployments");
    let deadline = Instant::now() + ASKED_WITHIN;
    loop {
        let source = source.clone();
        let request = CreateDeployment { source };
        let answer: Result<Deployment, _> = platform.client.post(&path, &request).await;
        let problem = match answer {
            Ok(change) => {
                told.push((service, Answer::Acknowledged(change.id)));
                return Ok(change);
            }
            Err(error) => error,
        };
        let late = Instant::now() >= deadline;
        let text = problem.to_string();
        told.push((service, Answer::of(Err(problem))));
        ensure!(!late, "asking for a deployment: {text}");
        sleep(Duration::from_millis(500)).await;
    }
}

pub async fn ended(platform: &Platform, changes: &[Deployment]) -> Result<()> {
    wait::outcome(CHANGED_WITHIN, || async {
        for change in changes {
            let state = platform.deployment(change).await?.state;
            ensure!(
                state.is_final(),
                "a change is {state:?} while clocks are wrong"
            );
        }
        Ok(())
    })
    .await
}

/// When all was right again, this one was not done.
pub async fn under_way(platform: &Platform, change: Option<&Deployment>) -> Result<()> {
    let change = change.context("no change")?;
    let state = platform.deployment(change).await?.state;
    ensure!(!state.is_final(), "an invalid run: it was {state:?}");
    Ok(())
}

pub async fn are_live(platform: &Platform, changes: &[Deployment]) -> Result<()> {
    for change in changes {
        let change = platform.deployment(change).await?;
        ensure!(
            change.state == DeploymentState::Live,
            "change {} is {:?}: {:?}",
            change.number,
            change.state,
            change.error
        );
    }
    Ok(())
}
