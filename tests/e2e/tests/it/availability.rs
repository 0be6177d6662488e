//! What runs goes on running: without the control plane, and without one region's instances.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{
    edge::Version,
    load::{self, ACCEPTANCE_MIX, Load, Summary},
    platform::{Fixture, Platform},
    scale::Scale,
    wait,
};
use serde_json::json;

use crate::support::{about, answers_from, hello_under_load};

/// How long all global processes are away in a full run, in one stretch, and what is asked meanwhile; each half
/// of it through one region's edge.
const AWAY: Duration = Duration::from_secs(600);
const REQUESTS_AT_LEAST: usize = 100_000;

async fn deployed(platform: &Platform) -> Result<Fixture> {
    let fixture = platform.fixture("web", hello_under_load(platform)).await?;
    platform.deploy(fixture.service.id, None).await?;
    for region in ["us-east", "eu-west"] {
        answers_from(&platform.edge(region, &fixture.host), region).await;
    }
    Ok(fixture)
}

#[tokio::test]
async fn each_region_serves_and_comes_back_without_the_control_plane() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let scale = Scale::of_this_run();
    let mut global = platform.control_planes();
    global.push("postgres".to_owned());

    let first = Load::start(&[platform.edge("us-east", &fixture.host)], &ACCEPTANCE_MIX);
    for name in &global {
        platform.hold(name, true).await?;
    }
    let began = Instant::now();
    let outcome = kill_in_each_region(&platform, &fixture, first, scale.lasting(AWAY)).await;
    let seconds = began.elapsed().as_secs();
    for name in global.iter().rev() {
        platform.hold(name, false).await?;
        platform.wait_ready(name, None).await;
    }
    let (first, second) = outcome?;
    let summaries = [first, second.stop().await];

    for summary in &summaries {
        let verdict = load::judge(summary, scale.of(REQUESTS_AT_LEAST) / 2);
        ensure!(verdict.is_pass(), "{verdict}");
    }
    let requests: usize = summaries.iter().map(|summary| summary.records.len()).sum();
    load::write(
        "outage",
        &json!({ "seconds": seconds, "requests": requests }),
    )?;
    platform.delete(&fixture).await
}

/// For half of the time the load goes through the one region, then through the other. What the first load has met, and
/// the second one, which still runs.
async fn kill_in_each_region(
    platform: &Platform,
    fixture: &Fixture,
    through_us: Load,
    lasts: Duration,
) -> Result<(Summary, Load)> {
    kill_again_and_again(platform, fixture, ["eu-west", "us-east"], lasts / 2).await?;
    let through_eu = Load::start(&[platform.edge("eu-west", &fixture.host)], &ACCEPTANCE_MIX);
    let met = through_us.stop().await;
    kill_again_and_again(platform, fixture, ["us-east", "eu-west"], lasts / 2).await?;
    Ok((met, through_eu))
}

/// Again and again for so long: all of the region that users do not come through, then agent and engine of the one that
/// they come through, whose edge is alone there.
async fn kill_again_and_again(
    platform: &Platform,
    fixture: &Fixture,
    [other, serving]: [&str; 2],
    lasts: Duration,
) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < lasts {
        kill_and_come_back(platform, fixture, other, &["edge", "agent", "engine"]).await?;
        kill_and_come_back(platform, fixture, serving, &["agent", "engine"]).await?;
    }
    Ok(())
}

/// Ends these of a region with SIGKILL, all at once; they come back from disk alone.
async fn kill_and_come_back(
    platform: &Platform,
    fixture: &Fixture,
    region: &str,
    roles: &[&str],
) -> Result<()> {
    let mut killed = Vec::new();
    for role in roles {
        let name = format!("{region}-{role}");
        let old = platform.kill(&name).await?;
        killed.push((name, old));
    }
    for (name, old) in killed {
        platform.wait_ready(&name, Some(old)).await;
    }
    answers_from(&platform.edge(region, &fixture.host), region).await;
    Ok(())
}

#[tokio::test]
async fn a_region_whose_instances_are_killed_is_served_by_the_other_and_is_local_again_after()
-> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let us = platform.edge("us-east", &fixture.host);
    let packets = platform.packets_between_containers().await?;

    // Without its agent nobody starts the container again.
    platform.hold("us-east-agent", true).await?;
    let killed = platform
        .kill_containers("us-east", fixture.service.id)
        .await;
    let served = wait::outcome(Duration::from_secs(60), || async {
        let about = about(&us, Version::Http2).await?;
        ensure!(about["region"] == "eu-west", "{about}");
        Ok(())
    })
    .await;
    platform.hold("us-east-agent", false).await?;
    platform.wait_ready("us-east-agent", None).await;
    assert_eq!(killed?, 1, "an invalid run");
    served?;
    answers_from(&us, "us-east").await;
    answers_from(&platform.edge("eu-west", &fixture.host), "eu-west").await;
    assert_eq!(platform.packets_between_containers().await?, packets);
    platform.delete(&fixture).await
}
