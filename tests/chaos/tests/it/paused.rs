//! A control plane that stands still for longer than its leases, in mid-deployment, and then goes on: it
//! does nothing twice and undoes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::deployment::{DeploymentSource, DeploymentState};
use chaos::{
    history::{Answer, History},
    judge, observe,
    scale::Scale,
};
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::sleep;

use crate::support::{converged, deployed, load};

/// Longer than a lease (10 s), shorter than the supervisor lets a silent process live (15 s).
const STANDS_STILL: Duration = Duration::from_secs(12);
const PAUSES: usize = 10;
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
const REQUESTS_AT_LEAST: usize = 200;

#[tokio::test]
async fn a_control_plane_that_stood_still_past_its_leases_does_nothing_twice() -> Result<()> {
    let platform = Platform::running().await?;
    let fixture = deployed(&platform).await?;
    let load = load(&platform, &fixture);
    let mut history = History::default();
    let first = platform.newest_deployment(fixture.service.id).await?;
    history
        .deployments
        .push((first.service_id, Answer::Acknowledged(first.id)));
    for _ in 0..Scale::of_this_run().of(PAUSES) {
        change_while_one_stands_still(&platform, &fixture, &mut history).await?;
    }
    converged(&platform, &fixture, CONVERGED_WITHIN).await?;
    let world = observe::world(&platform, fixture.environment).await?;
    assert_eq!(judge::wrong_with(&history, &world), []);
    load.stop().await.assert_none_failed(REQUESTS_AT_LEAST);
    platform.delete(&fixture).await
}

async fn change_while_one_stands_still(
    platform: &Platform,
    fixture: &Fixture,
    history: &mut History,
) -> Result<()> {
    let source = Some(DeploymentSource::Current);
    let begun = platform.begin(fixture.service.id, source).await?;
    history
        .deployments
        .push((begun.service_id, Answer::Acknowledged(begun.id)));
    wait::until("placing or later", Duration::from_secs(30), || async {
        let now = platform.deployment(&begun).await?;
        ensure!(
            now.state >= DeploymentState::Placing,
            "it is {:?}",
            now.state
        );
        Ok(())
    })
    .await;
    let paused = Paused::one(platform)?;
    sleep(STANDS_STILL).await;
    paused.go_on()?;
    let ended = platform.end_of(&begun, Duration::from_secs(120)).await;
    ensure!(
        ended.state == DeploymentState::Live,
        "{:?}: {:?}",
        ended.state,
        ended.error
    );
    Ok(())
}

/// A stopped process; goes on when this is dropped.
struct Paused {
    pid: Pid,
    name: String,
}

impl Paused {
    fn one(platform: &Platform) -> Result<Self> {
        let mut all = platform.status.processes.iter();
        let process = all
            .find(|process| process.name.starts_with("control-plane"))
            .context("no control plane")?;
        let pid = Pid::from_raw(process.pid.context("the control plane is not running")?);
        kill(pid, Signal::SIGSTOP).context("stopping the control plane")?;
        Ok(Self {
            pid,
            name: process.name.clone(),
        })
    }

    /// Insists that it was the same process all the time.
    fn go_on(self) -> Result<()> {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .with_context(|| format!("an invalid run: {} was ended meanwhile", self.name))?;
        let stopped = state
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" T"));
        ensure!(stopped, "an invalid run: {} did not stand still", self.name);
        Ok(())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been ended: then there is nothing to go on.
        let _ = kill(self.pid, Signal::SIGCONT);
    }
}
