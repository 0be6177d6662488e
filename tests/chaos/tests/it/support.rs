//! What several of these tests need.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use api::deployment::Deployment;
use chaos::{
    history::{Answer, History, Write},
    judge::{self, Demands, Verdict},
    observe, report,
    world::World,
};
use chrono::Utc;
use domain::id::{DeploymentId, EnvironmentId, ServiceId};
use e2e::{
    example::{answers_from, hello},
    load::{Kind, Load, Outcome, Rate},
    platform::{Fixture, Platform},
    wait,
};
use serde_json::{Value, json};
use tokio::time::sleep;

pub const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
/// After the last kill nothing may be left over for longer.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

pub const REGIONS: [&str; 2] = ["us-east", "eu-west"];

/// Enough to notice, little enough to leave room for what is tested.
pub const LIGHT: [Rate; 3] = [
    Rate {
        kind: Kind::Get1,
        per_second: 10.0,
    },
    Rate {
        kind: Kind::Get2,
        per_second: 10.0,
    },
    Rate {
        kind: Kind::Post1Mib,
        per_second: 0.5,
    },
];

/// The example with room for a few versions side by side on each node.
pub fn small(platform: &Platform) -> Value {
    let mut spec = hello(platform);
    spec["scale"]["resources"] = json!({ "cpu": 0.1 });
    // Nothing that it is asked lasts longer.
    spec["deploy"]["draining"] = json!("5s");
    spec
}

/// The example, deployed and answering in both regions.
pub async fn deployed(platform: &Platform) -> Result<Fixture> {
    let fixture = platform.fixture("web", small(platform)).await?;
    first_deployment(platform, &fixture, &REGIONS).await?;
    Ok(fixture)
}

/// Deploys it, until it answers in each of its regions.
pub async fn first_deployment(
    platform: &Platform,
    fixture: &Fixture,
    regions: &[&str],
) -> Result<()> {
    platform.deploy(fixture.service.id, None).await?;
    for region in regions {
        answers_from(&platform.edge(region, &fixture.host), region).await;
    }
    Ok(())
}

/// Load on it through both edges.
pub fn load(platform: &Platform, fixture: &Fixture) -> Load {
    Load::start(&platform.edges(&fixture.host), &LIGHT)
}

/// That somebody was told of a deployment.
pub fn told(deployment: &Deployment) -> Write<ServiceId, DeploymentId> {
    (deployment.service_id, Answer::Acknowledged(deployment.id))
}

/// Judges what was asked for and what is left of it, and then the judge.
pub async fn judge_all(
    platform: &Platform,
    fixture: &Fixture,
    history: &History,
    demands: Demands,
) -> Result<()> {
    let world = observe::world(platform, fixture.environment).await?;
    let verdict = judge::judge(history, &world, &demands);
    ensure!(verdict.is_pass(), "{verdict}");
    assert_the_judge_can_fail(history, world, demands);
    Ok(())
}

/// With too few requests, with one that failed, with one acknowledged deployment less.
pub fn assert_the_judge_can_fail(history: &History, world: World, demands: Demands) {
    let unmet = Demands {
        requests: usize::MAX,
        ..demands
    };
    let verdict = judge::judge(history, &world, &unmet);
    assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict}");

    let mut failed = history.clone();
    if let Some(last) = failed.requests.last_mut() {
        last.outcome = Outcome::Failed("planted".to_owned());
    }
    let verdict = judge::judge(&failed, &world, &demands);
    assert!(matches!(verdict, Verdict::Fail(_)), "{verdict}");

    let mut forgetful = world;
    let told = history.deployments.iter().rev();
    let newest = told.filter_map(|(_, answer)| answer.acknowledged()).next();
    forgetful.deployments.retain(|one| Some(&one.id) != newest);
    let verdict = judge::judge(history, &forgetful, &demands);
    assert!(matches!(verdict, Verdict::Fail(_)), "{verdict}");
}

/// Waits until every node follows the newest documents, rows and containers agree, and every deployment
/// has ended; how long that took.
pub async fn converged(
    platform: &Platform,
    fixture: &Fixture,
    limit: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    wait::outcome(limit, || async {
        let world = observe::world(platform, fixture.environment).await?;
        let wrong = judge::wrong_with(&History::default(), &world);
        let text: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        ensure!(wrong.is_empty(), "{}", text.join("\n"));
        Ok(())
    })
    .await?;
    Ok(began.elapsed())
}

/// Looks until nothing is wrong any more, or for too long; what is there then, and how long after the
/// last kill that was.
pub async fn settled(
    platform: &Platform,
    environment: EnvironmentId,
    history: &History,
) -> Result<(World, Duration)> {
    let last = history.kills.last().context("no kill")?.at;
    let since_last = || (Utc::now() - last).to_std().unwrap_or_default();
    let give_up = Instant::now() + SETTLED_WITHIN.saturating_sub(since_last());
    let mut wrong = Vec::new();
    loop {
        let looked = observe::world(platform, environment).await;
        let late = Instant::now() >= give_up;
        match looked {
            Ok(world) => {
                let before = std::mem::replace(&mut wrong, judge::wrong_with(history, &world));
                if late || wrong.is_empty() {
                    let took = since_last();
                    report::say(&format!("what took {took:?} to be right: {before:?}"));
                    return Ok((world, took));
                }
            }
            Err(error) if late => return Err(error),
            Err(_) => {}
        }
        sleep(Duration::from_millis(500)).await;
    }
}
