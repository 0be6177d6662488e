//! Redeploys and rollbacks under load through both edges: not one request fails, and the deployment
//! record says so.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use api::deployment::{Deployment, DeploymentSource};
use e2e::{
    fault::{Conditions, Detour},
    load::{self, ACCEPTANCE_MIX, Demands, Load, Report},
    platform::{Fixture, Platform},
    scale::Scale,
    wait,
};
use serde_json::{Value, json};

use crate::support::{answers_from, hello_under_load};

/// Of a full run, as the next two.
const REQUESTS_AT_LEAST: usize = 200_000;
const CHANGES_FOR: Duration = Duration::from_secs(900);
const CHANGES_AT_LEAST: usize = 40;
/// In each state, over all deployments.
const BEGUN_IN_PHASE_AT_LEAST: usize = 500;
/// An application that is ready so long after it has started: `verifying` lasts.
const WARM_UP_SECONDS: u32 = 3;
/// One way between eu-west and the control plane, as across an ocean on a bad day: `shifting` lasts.
const LATENCY: Duration = Duration::from_millis(500);
const JITTER: Duration = Duration::from_millis(50);
/// Edges report what they have counted at least this often, and the slow one takes its time.
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn redeploys_and_rollbacks_under_load_fail_no_request() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = slow_to_be_ready(&platform).await?;
    let first = platform.deploy(fixture.service.id, None).await?;
    for region in ["us-east", "eu-west"] {
        answers_from(&platform.edge(region, &fixture.host), region).await;
    }
    let detour = Detour::open(&platform, "eu-west").await?;
    detour.proxy.set(Conditions::delayed(LATENCY, JITTER));

    let load = Load::start(&platform.edges(&fixture.host), &ACCEPTANCE_MIX);
    let changes = change_until_enough(&platform, &fixture, &first).await;
    let summary = load.stop().await;
    let deployments = counted(&platform, changes?).await;
    let report = Report::of(&summary, &deployments)?;
    println!("{report}in {}", report.write("changes")?.display());

    let scale = Scale::of_this_run();
    let demands = Demands {
        requests: scale.of(REQUESTS_AT_LEAST),
        in_each_phase: BEGUN_IN_PHASE_AT_LEAST,
        deployments: scale.of(CHANGES_AT_LEAST),
    };
    let verdict = load::judge_changes(&summary, &report, &demands);
    ensure!(verdict.is_pass(), "{verdict}");
    drop(detour);
    platform.delete(&fixture).await
}

/// The example, with a readiness of its own that comes some seconds after it is up.
async fn slow_to_be_ready(platform: &Platform) -> Result<Fixture> {
    let mut spec = hello_under_load(platform);
    spec["deploy"]["readiness"]["path"] = json!("/ready");
    let fixture = platform.fixture("web", spec).await?;
    let path = format!(
        "/v1/services/{}/variables/HELLO_WARM_UP_SECONDS",
        fixture.service.id
    );
    let value = json!({ "value": WARM_UP_SECONDS.to_string() });
    let _: Value = platform.client.put(&path, &value).await?;
    Ok(fixture)
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
    let started = Instant::now();
    let scale = Scale::of_this_run();
    let (lasts, at_least) = (scale.lasting(CHANGES_FOR), scale.of(CHANGES_AT_LEAST));
    let mut deployments = Vec::new();
    while started.elapsed() < lasts || deployments.len() < at_least {
        let source = if deployments.len() % 2 == 0 {
            DeploymentSource::Current
        } else {
            DeploymentSource::Release { release_id }
        };
        deployments.push(platform.deploy(fixture.service.id, Some(source)).await?);
    }
    Ok(deployments)
}

/// The deployments as they are once edges have reported what they counted: each has seen requests.
async fn counted(platform: &Platform, deployments: Vec<Deployment>) -> Vec<Deployment> {
    let mut counted = Vec::new();
    for deployment in &deployments {
        let what = format!(
            "what edges have counted for deployment {}",
            deployment.number
        );
        let now = wait::until(&what, COUNTED_WITHIN, || async {
            let now = platform.deployment(deployment).await?;
            ensure!(now.requests > 0, "none");
            Ok(now)
        });
        counted.push(now.await);
    }
    counted
}
