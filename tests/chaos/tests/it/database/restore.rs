//! A backup from before the last changes takes the place of the database: what it has forgotten runs on and
//! is routed on until an operator, or the next deployment, lets it go.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::{
    deployment::{Deployment, DeploymentSource},
    orphan::Orphan,
    variable::SetVariable,
};
use chaos::{
    engine,
    history::{Answer, History},
    judge::{self, Violation},
    observe,
    postgres::Server,
};
use domain::id::ServiceId;
use e2e::{
    command::succeed,
    example::answers_from,
    platform::{CONTROL_PLANES, Fixture, Platform},
    wait,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{REQUESTS_AT_LEAST, brake, epoch, followed, load, run_on};
use crate::support::{REGIONS, converged, deployed, small};

const WITHIN: Duration = Duration::from_secs(60);
/// More at once than a node's brake would follow without a cause.
const FORGOTTEN_PER_NODE: u32 = 4;
const VARIABLE: &str = "CHAOS_0";

#[tokio::test]
async fn what_a_restored_backup_has_forgotten_runs_on_until_it_is_let_go() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let server = Server::of(&platform)?;
    let backup = server.back_up().await?;
    let (forgotten, history) = change(&platform, &fixture).await?;
    let before = engine::running(&platform).await?;
    let load = load(&platform, &[&fixture, &forgotten]);
    let epoch_before = epoch(&server).await?;
    brake::is_free(&platform).await?;

    server.is_lost(&platform).await?;
    server.is_replaced_by(&backup, &platform).await?;
    refuses_to_serve_nodes(&platform).await?;
    operator_says_restored(&platform).await?;
    let epoch_now = epoch(&server).await?;
    ensure!(epoch_now > epoch_before, "the epoch is {epoch_now}");
    followed(&server, epoch_now).await?;
    let orphans = orphans_of(&platform, forgotten.service.id).await?;
    brake::holds(&platform, FORGOTTEN_PER_NODE.into()).await?;
    run_on(&platform, &before).await?;
    the_judge_sees_what_was_lost(&platform, &fixture, &history).await?;

    let summary = load.stop().await;
    let current = Some(DeploymentSource::Current);
    platform.deploy(fixture.service.id, current).await?;
    let [at_once, one_by_one] = REGIONS;
    brake::is_overridden(&platform, at_once).await?;
    for orphan in orphans {
        if orphan.region.as_str() == one_by_one {
            let path = format!("/v1/orphans/{}", orphan.instance_id);
            platform.client.delete(&path).await?;
        }
    }
    converged(&platform, &fixture, WITHIN).await?;
    brake::has_let_go(&platform).await?;
    let verdict = e2e::load::judge(&summary, REQUESTS_AT_LEAST);
    ensure!(verdict.is_pass(), "{verdict}");
    platform.delete(&fixture).await
}

/// What the backup does not have: a redeploy, a variable, a service of several instances per node.
async fn change(platform: &Platform, fixture: &Fixture) -> Result<(Fixture, History)> {
    let mut history = History::default();
    let current = Some(DeploymentSource::Current);
    let redeployed = platform.deploy(fixture.service.id, current).await?;
    let path = format!(
        "/v1/environments/{}/variables/{VARIABLE}",
        fixture.environment
    );
    let variable = SetVariable {
        value: "1".to_owned(),
        sealed: false,
    };
    let set = platform.client.put::<_, Value>(&path, &variable).await;
    let write = (VARIABLE.to_owned(), variable.value);
    history.variables.push((write, Answer::of(set.map(drop))));

    let mut spec = small(platform);
    spec["scale"]["regions"] = json!({ "us-east": FORGOTTEN_PER_NODE, "eu-west": 1 });
    let forgotten = platform.fixture("late", spec).await?;
    let deployed = platform.deploy(forgotten.service.id, None).await?;
    for region in REGIONS {
        answers_from(&platform.edge(region, &forgotten.host), region).await;
    }
    let told = |one: Deployment| (one.service_id, Answer::Acknowledged(one.id));
    history.deployments = [redeployed, deployed].map(told).into();
    Ok((forgotten, history))
}

/// Nodes show what they have seen since: until an operator has decided, no replica is ready.
async fn refuses_to_serve_nodes(platform: &Platform) -> Result<()> {
    for name in CONTROL_PLANES {
        let url = format!("{}/readyz", platform.status.control_planes[name]);
        wait::outcome(WITHIN, || async {
            let said = reqwest::get(&url).await?.text().await?;
            ensure!(said.contains("admin restored"), "{name} says: {said}");
            Ok(())
        })
        .await
        .context("an invalid run: nodes have shown nothing newer")?;
    }
    Ok(())
}

async fn operator_says_restored(platform: &Platform) -> Result<()> {
    let data = platform.status.ca_file.parent().context("no data folder")?;
    let config = format!("secrets/{}.toml", CONTROL_PLANES[0]);
    let mut admin = Command::new(data.join("bin/control-plane"));
    admin.arg("--config").arg(data.join(config));
    succeed(admin.args(["admin", "restored"])).await.map(drop)
}

/// Waits until nodes have reported every instance of the service as forgotten.
async fn orphans_of(platform: &Platform, service: ServiceId) -> Result<Vec<Orphan>> {
    wait::outcome(WITHIN, || async {
        let mut orphans: Vec<Orphan> = platform.client.list("/v1/orphans").await?;
        orphans.retain(|orphan| orphan.service_id == service);
        let expected = FORGOTTEN_PER_NODE as usize + 1;
        ensure!(orphans.len() == expected, "orphans: {orphans:?}");
        Ok(orphans)
    })
    .await
}

/// The planted fault: acknowledged writes are gone, and containers run that no row knows.
async fn the_judge_sees_what_was_lost(
    platform: &Platform,
    fixture: &Fixture,
    history: &History,
) -> Result<()> {
    let world = observe::world(platform, fixture.environment).await?;
    let wrong = judge::wrong_with(history, &world);
    let count = |is: fn(&Violation) -> bool| wrong.iter().filter(|one| is(one)).count();
    let lost = count(|one| matches!(one, Violation::DeploymentLost(_)));
    let variables = count(|one| matches!(one, Violation::VariableLost { .. }));
    let containers = count(|one| matches!(one, Violation::OrphanContainer { .. }));
    ensure!(
        (lost, variables) == (2, 1) && containers > FORGOTTEN_PER_NODE as usize,
        "the judge sees {wrong:?}"
    );
    Ok(())
}
