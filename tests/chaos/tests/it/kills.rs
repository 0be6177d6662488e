//! `kill -9` at random moments of everything the platform is made of, while tenants deploy, go back,
//! scale, set variables and delete, under load through both edges.

mod extent;
mod tenants;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use chaos::{
    history::{Answer, History},
    judge::{self, Demands, Ends, Verdict, Violation},
    kill::{self, Killer},
    release_command::{self, Commands},
    report, scale,
    work::Work,
    world::World,
};
use domain::id::ServiceId;
use e2e::{load::Load, platform::Platform};
use futures::future::join_all;
use tokio::sync::watch;

use self::{extent::Extent, tenants::Tenants};
use crate::support::{LIGHT, settled, told};

#[tokio::test]
async fn whatever_is_killed_acknowledged_work_is_kept_and_nothing_is_left_over() -> Result<()> {
    let run = report::Seeded::begin("kills")?;
    let extent = Extent::of_this_run();
    let platform = Platform::alone().await?;
    let tenants = Box::pin(Tenants::deployed(&platform, &extent)).await?;
    let load = Load::start(&tenants.edges(&platform), &LIGHT);

    let killing = kill_and_work(&platform, &tenants, run.seed(), &extent);
    let mut history = Box::pin(killing).await?;
    let (world, settled) = settled(&platform, tenants.built.environment, &history).await?;
    history.requests = load.stop().await.records;
    let commands = release_command::seen(&platform, tenants.scaled.service.id, &world).await?;

    let demands = extent.demands();
    let verdict = judge::judge(&history, &world, &demands);
    let mut report = summary(&history, &world, settled, &verdict);
    report["release_commands_run"] = release_command::ran(&commands).into();
    run.end(report)?;
    assert!(verdict.is_pass(), "{verdict}");
    extent.ensure_met(&history, &world)?;
    ensure_each_command_ran_once(commands, &world)?;
    assert_the_judge_would_see_a_loss(&history, world, &demands);
    tenants.delete(&platform).await
}

/// Kills; the work goes on until the last one.
async fn kill_and_work(
    platform: &Platform,
    tenants: &Tenants,
    seed: u64,
    extent: &Extent,
) -> Result<History> {
    let firsts = tenants.deployments(platform).await?;
    let (stop, stopped) = watch::channel(false);
    let work = Work::new(platform, stopped);
    let killing = async {
        let kills = Killer::new(platform, scale::choices(seed))
            .run(extent.kills, extent.pauses.clone())
            .await;
        stop.send_replace(true);
        kills
    };
    let spec = extent.spec(platform);
    let redeployed = tenants.redeployed.iter();
    let redeploying = redeployed.map(|tenant| work.redeploy(tenant.service.id));
    let (kills, built, scaled, set, deleted, ()) = tokio::join!(
        killing,
        work.build_and_roll_back(&firsts[0]),
        work.scale_and_redeploy(tenants.scaled.service.id, "us-east"),
        work.set_variables(&tenants.built),
        work.make_and_delete(&spec),
        async { drop(join_all(redeploying).await) },
    );
    for outcome in [built, scaled, set, deleted] {
        outcome?;
    }
    let mut history = work.into_history();
    history.deployments.splice(0..0, firsts.iter().map(told));
    history.kills = kills?;
    Ok(history)
}

/// And that a second run would be seen.
fn ensure_each_command_ran_once(mut commands: Commands, world: &World) -> Result<()> {
    let wrong = release_command::wrong(&commands, world);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let ran = release_command::ran(&commands);
    ensure!(
        ran > 0,
        "an invalid run: no release command was seen to run"
    );
    for seen in commands.values_mut() {
        seen.words.extend(["one".to_owned(), "another".to_owned()]);
    }
    assert_eq!(
        release_command::wrong(&commands, world).len(),
        commands.len()
    );
    Ok(())
}

fn assert_the_judge_would_see_a_loss(history: &History, mut world: World, demands: &Demands) {
    let acknowledged = history.deployments.iter().rev();
    let newest = acknowledged
        .filter_map(|(_, answer)| answer.acknowledged())
        .next()
        .expect("a passed run has acknowledged deployments");
    world.deployments.retain(|one| one.id != *newest);
    let verdict = judge::judge(history, &world, demands);
    assert_eq!(
        verdict,
        Verdict::Fail(vec![Violation::DeploymentLost(*newest)])
    );
}

fn summary(
    history: &History,
    world: &World,
    settled: Duration,
    verdict: &Verdict,
) -> serde_json::Value {
    let mut by_end: BTreeMap<String, usize> = BTreeMap::new();
    for deployment in &world.deployments {
        let code = deployment.problem.as_ref().map_or("", |(code, _)| code);
        let end = format!("{} {code}", deployment.state.as_str());
        *by_end.entry(end.trim().to_owned()).or_default() += 1;
    }
    let unknown = |(_, answer): &&(ServiceId, Answer<_>)| matches!(answer, Answer::Unknown(_));
    let rollbacks = world.deployments.iter();
    let rollbacks = rollbacks.filter(|deployment| deployment.reason == "rollback");
    let ends = Ends::of(history, world);
    serde_json::json!({
        "verdict": verdict.to_string(),
        "kills": kill::counts(&history.kills),
        "kills_during": kill::phases(&history.kills, &world.deployments),
        "kills_during_rollbacks": kill::phases(&history.kills, rollbacks),
        "kills_during_a": kill::reasons(history, &world.deployments),
        "deployments_ended": ends.ended,
        "deployments_failed_by_the_platform": ends.failed,
        "deployments_by_end": by_end,
        "deployments_with_unknown_answer": history.deployments.iter().filter(unknown).count(),
        "variables_set": history.variables.len(),
        "scales": history.scales.len(),
        "projects_deleted": history.deletions.len(),
        "services_gone": judge::gone(world).count(),
        "requests": history.requests.len(),
        "requests_failed_with_their_edge": judge::excused(history),
        "settled_after_last_kill_seconds": settled.as_secs_f64(),
    })
}
