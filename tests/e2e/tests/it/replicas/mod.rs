//! Control planes behind one address: each may go at any moment, and all of them.

mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use api::{
    deployment::{Deployment, DeploymentSource, DeploymentState as Step},
    instance::Instance,
    release::Release,
};
use chaos::judge::{self, Carried, Verdict};
use e2e::{
    fault::{Armed, Strike},
    platform::{Fixture, Platform},
    wait,
};
use nix::sys::signal::Signal;

use crate::support::{answers_from, hello};

const LIMIT: Duration = Duration::from_secs(180);
const REGIONS: [&str; 2] = ["us-east", "eu-west"];

async fn comes_to(platform: &Platform, deployment: &Deployment, step: Step) {
    wait::until(&format!("{step:?} or later"), LIMIT, || async {
        let now = platform.deployment(deployment).await?;
        ensure!(now.state >= step, "it is {:?}", now.state);
        Ok(())
    })
    .await;
}

/// It is live in both regions, and no step on the way was done twice.
async fn is_live_and_all_was_done_once(
    platform: &Platform,
    fixture: &Fixture,
    deployment: &Deployment,
) -> Result<()> {
    let ended = platform.end_of(deployment, LIMIT).await;
    ensure!(ended.state == Step::Live, "{:?}", ended.error);
    let carried = carried(platform, &ended).await?;
    let verdict = judge::judge_carried(&carried);
    ensure!(verdict.is_pass(), "{verdict}");
    assert_the_judge_would_see_a_stale_step(carried);
    for region in REGIONS {
        answers_from(&platform.edge(region, &fixture.host), region).await;
    }
    Ok(())
}

async fn carried(platform: &Platform, ended: &Deployment) -> Result<Carried> {
    let path = format!("/v1/services/{}", ended.service_id);
    let releases: Vec<Release> = platform.client.list(&format!("{path}/releases")).await?;
    let all: Vec<Deployment> = platform.client.list(&format!("{path}/deployments")).await?;
    let others = all.iter().filter(|one| one.id != ended.id);
    let others: BTreeSet<_> = others.filter_map(|other| other.release_id).collect();
    let own = releases.iter().filter(|one| !others.contains(&one.id));
    let instances: Vec<Instance> = platform.client.list(&format!("{path}/instances")).await?;
    let mut placed = BTreeMap::new();
    for instance in instances.iter().filter(|i| i.deployment_id == ended.id) {
        *placed.entry(instance.region.to_string()).or_insert(0) += 1;
    }
    Ok(Carried {
        id: ended.id,
        builds: ended.source != DeploymentSource::Current,
        steps: ended.steps.iter().map(|step| step.state).collect(),
        told: platform.steps_told(ended).await?,
        releases: own.count(),
        placed,
        wanted: REGIONS.map(|region| (region.to_owned(), 1)).into(),
    })
}

/// Of one that woke after the others had gone on.
fn assert_the_judge_would_see_a_stale_step(mut carried: Carried) {
    carried.told.push(Step::Placing);
    let verdict = judge::judge_carried(&carried);
    assert!(matches!(verdict, Verdict::Fail(_)), "{verdict}");
}

#[tokio::test]
async fn a_deployment_whose_control_plane_is_killed_goes_live_through_the_other() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    for (source, step) in [
        (None, Step::Building),
        (Some(DeploymentSource::Current), Step::Placing),
        (Some(DeploymentSource::Current), Step::Starting),
        (Some(DeploymentSource::Current), Step::Shifting),
    ] {
        let victim = platform.working_control_plane().await?;
        let begun = platform.begin(fixture.service.id, source).await?;
        comes_to(&platform, &begun, step).await;
        platform.kill_and_hold(&victim).await?;
        let outcome = is_live_and_all_was_done_once(&platform, &fixture, &begun).await;
        platform.bring_back(&victim).await?;
        outcome?;
    }
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_deployment_outlives_all_control_planes() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    for step in [Step::Building, Step::Starting] {
        comes_to(&platform, &begun, step).await;
        for name in &platform.control_planes() {
            platform.kill_and_hold(name).await?;
        }
        for name in &platform.control_planes() {
            platform.bring_back(name).await?;
        }
    }
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_control_plane_that_stood_still_past_its_leases_writes_nothing_stale() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let armed = hold_at(&platform, "build-decided").await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    let held = first_struck(armed).await;
    let victim = held.process.clone();
    let refused_before = platform.refused_writes(&victim, "builds").await?;
    // Nobody else can have moved it: the leases have run out.
    let others_go_on = comes_to(&platform, &begun, Step::Starting);
    stand_still_while(&platform, &victim, others_go_on).await?;
    // Now it gives to a node what the other has given away already.
    drop(held);
    wait::until("the refusal of what it had decided", LIMIT, || async {
        let refused = platform.refused_writes(&victim, "builds").await?;
        ensure!(refused > refused_before, "{refused} refused");
        Ok(())
    })
    .await;
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    stands_still_in_its_transaction(&platform, &fixture).await?;
    platform.delete(&fixture).await
}

/// Between what it has written and its commit, for longer than its lease and than the database lets it keep its
/// locks: nothing of the step is kept, and the others take it.
async fn stands_still_in_its_transaction(platform: &Platform, fixture: &Fixture) -> Result<()> {
    let armed = hold_at(platform, "step-written").await?;
    let source = Some(DeploymentSource::Current);
    let begun = platform.begin(fixture.service.id, source).await?;
    let held = first_struck(armed).await;
    let victim = held.process.clone();
    let failed_before = platform.failed_turns(&victim, "deployments").await?;
    comes_to(platform, &begun, Step::Starting).await;
    ensure!(
        platform.failed_turns(&victim, "deployments").await? <= failed_before,
        "an invalid run: {victim} no longer stood still"
    );
    drop(held);
    wait::until("the refusal of its commit", LIMIT, || async {
        let failed = platform.failed_turns(&victim, "deployments").await?;
        ensure!(failed > failed_before, "{failed} turns failed");
        Ok(())
    })
    .await;
    is_live_and_all_was_done_once(platform, fixture, &begun).await
}

#[tokio::test]
async fn of_three_control_planes_one_is_killed_one_stands_still_and_the_third_does_all_once()
-> Result<()> {
    let platform = Platform::alone_with_three_replicas().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let stopped = platform.working_control_plane().await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    comes_to(&platform, &begun, Step::Building).await;
    let mut all = platform.control_planes().into_iter();
    let killed = all.find(|name| *name != stopped);
    let killed = killed.context("a second control plane")?;
    platform.kill_and_hold(&killed).await?;
    let third_goes_on = comes_to(&platform, &begun, Step::Starting);
    let outcome = stand_still_while(&platform, &stopped, third_goes_on).await;
    platform.bring_back(&killed).await?;
    outcome?;
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    next_one_goes_live(&platform, &fixture).await?;
    platform.delete(&fixture).await
}

/// Whichever comes there first stands still.
async fn hold_at(platform: &Platform, point: &str) -> Result<Vec<Armed>> {
    let all = platform.control_planes();
    let armed = all
        .iter()
        .map(|name| Armed::new(platform, name, point, Strike::Hold));
    futures::future::try_join_all(armed).await
}

/// The first that stands still at its point; the others are disarmed.
async fn first_struck(mut armed: Vec<Armed>) -> Armed {
    let struck = wait::until("a control plane at its point", LIMIT, || async {
        let struck = armed.iter().position(Armed::has_struck);
        struck.context("none yet")
    });
    let struck = struck.await;
    armed.swap_remove(struck)
}

/// Stops a control plane as long as something lasts, and wakes it again.
async fn stand_still_while(
    platform: &Platform,
    victim: &str,
    others_go_on: impl Future<Output = ()>,
) -> Result<()> {
    let restarts = platform.process(victim).await?.restarts;
    platform.signal(victim, Signal::SIGSTOP).await?;
    others_go_on.await;
    platform.signal(victim, Signal::SIGCONT).await?;
    wait::until(&format!("{victim} after its pause"), LIMIT, || async {
        platform.metrics_of(victim).await.map(drop)
    })
    .await;
    ensure!(
        platform.process(victim).await?.restarts == restarts,
        "an invalid run: {victim} was restarted meanwhile"
    );
    Ok(())
}

async fn next_one_goes_live(platform: &Platform, fixture: &Fixture) -> Result<()> {
    let source = Some(DeploymentSource::Current);
    let next = platform.begin(fixture.service.id, source).await?;
    is_live_and_all_was_done_once(platform, fixture, &next).await
}
