//! An edge that can't hear the control plane goes on serving through every change: it keeps to what it
//! knows, agents tell it the truth about addresses, and old instances stay for it.

use std::time::Duration;

use anyhow::{Result, ensure};
use api::deployment::{Deployment, DeploymentSource, DeploymentState};
use chaos::{history::History, judge::Demands};
use e2e::{
    fault::{Partition, Party, Way},
    platform::Platform,
    wait,
};

use crate::support::{CONVERGED_WITHIN, converged, deployed, judge_all, load, told};

const REDEPLOYS: usize = 3;
/// An edge is late after 45 s of silence; until then a change waits for it.
const SERVES_WITHIN: Duration = Duration::from_secs(100);
const DEMANDS: Demands = Demands {
    requests: 500,
    deployments: 1 + REDEPLOYS,
    live: 1 + REDEPLOYS,
    kills: 0,
    phases: &[],
};

#[tokio::test]
async fn an_edge_cut_off_from_the_control_plane_serves_through_three_redeploys() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let load = load(&platform, &fixture);
    let edge = Party::Process("eu-west-edge");
    let mut cut = Partition::begin(&platform, edge, Way::Both, 1.0).await?;

    let mut deployments = vec![told(&first)];
    for _ in 0..REDEPLOYS {
        let source = Some(DeploymentSource::Current);
        let begun = platform.begin(fixture.service.id, source).await?;
        deployments.push(told(&begun));
        serving(&platform, &begun).await?;
    }
    ensure!(
        cut.heal()? > 0,
        "an invalid run: the partition met no packet"
    );
    let took = converged(&platform, &fixture, CONVERGED_WITHIN).await?;
    println!("converged {took:?} after the partition had healed");

    let history = History {
        deployments,
        requests: load.stop().await.records,
        ..History::default()
    };
    judge_all(&platform, &fixture, &history, DEMANDS).await?;
    platform.delete(&fixture).await
}

/// Waits until it serves; a newer one may begin then, whatever the old instances still finish.
async fn serving(platform: &Platform, begun: &Deployment) -> Result<()> {
    wait::outcome(SERVES_WITHIN, || async {
        let now = platform.deployment(begun).await?;
        ensure!(
            now.state >= DeploymentState::Draining,
            "it is {:?}",
            now.state
        );
        Ok(now)
    })
    .await
    .and_then(|now| {
        let serves = [DeploymentState::Draining, DeploymentState::Live].contains(&now.state);
        ensure!(serves, "it is {:?}: {:?}", now.state, now.error);
        Ok(())
    })
}
