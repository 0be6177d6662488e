//! `kill -9` at random moments of everything the platform is made of, while tenants deploy, go back,
//! scale, set variables and delete, under load through both edges.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use chaos::{
    history::{Answer, History},
    judge::{self, Demands, Verdict, Violation},
    kill::{self, Killer},
    report,
    scale::{self, Scale},
    work::Work,
    world::World,
};
use domain::id::ServiceId;
use e2e::{
    load::Load,
    platform::{Fixture, Platform},
};
use tokio::sync::watch;

use crate::support::{LIGHT, deployed, settled, small};

const KILLS: usize = 600;
const PAUSES: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_millis(1_000);

#[tokio::test]
async fn whatever_is_killed_acknowledged_work_is_kept_and_nothing_is_left_over() -> Result<()> {
    let seed = scale::seed();
    println!("RAILHEAD_CHAOS_SEED={seed}");
    let platform = Platform::alone().await?;
    let (built, scaled) = tokio::try_join!(deployed(&platform), deployed(&platform))?;
    let edges = [platform.edges(&built.host), platform.edges(&scaled.host)].concat();
    let load = Load::start(&edges, &LIGHT);

    let count = Scale::of_this_run().of(KILLS);
    let killing = kill_and_work(&platform, &built, &scaled, seed, count);
    let mut history = Box::pin(killing).await?;
    let (world, settled) = settled(&platform, built.environment, &history).await?;
    history.requests = load.stop().await.records;

    let demands = Demands {
        requests: count * 10,
        deployments: count / 20,
        live: count / 30,
        kills: count,
    };
    let verdict = judge::judge(&history, &world, &demands);
    report::write("kills", &summary(seed, &history, &world, settled, &verdict))?;
    assert!(verdict.is_pass(), "{verdict}");
    assert_the_judge_would_see_a_loss(&history, world, &demands);
    platform.delete(&built).await?;
    platform.delete(&scaled).await
}

/// Kills; the work goes on until the last one.
async fn kill_and_work(
    platform: &Platform,
    built: &Fixture,
    scaled: &Fixture,
    seed: u64,
    count: usize,
) -> Result<History> {
    let firsts = [
        platform.newest_deployment(built.service.id).await?,
        platform.newest_deployment(scaled.service.id).await?,
    ];
    let (stop, stopped) = watch::channel(false);
    let work = Work::new(platform, stopped);
    let killing = async {
        let kills = Killer::new(platform, scale::choices(seed))
            .run(count, PAUSES)
            .await;
        stop.send_replace(true);
        kills
    };
    let spec = small(platform);
    let (kills, built, scaled, set, deleted) = tokio::join!(
        killing,
        work.build_and_roll_back(&firsts[0]),
        work.scale_and_redeploy(scaled.service.id, "us-east"),
        work.set_variables(built),
        work.make_and_delete(&spec),
    );
    for outcome in [built, scaled, set, deleted] {
        outcome?;
    }
    let mut history = work.into_history();
    let told = firsts.map(|first| (first.service_id, Answer::Acknowledged(first.id)));
    history.deployments.splice(0..0, told);
    history.kills = kills?;
    Ok(history)
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
    seed: u64,
    history: &History,
    world: &World,
    settled: Duration,
    verdict: &Verdict,
) -> serde_json::Value {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for deployment in &world.deployments {
        let code = deployment.problem.as_ref().map_or("", |(code, _)| code);
        let end = format!("{} {code}", deployment.state.as_str());
        *ends.entry(end.trim().to_owned()).or_default() += 1;
    }
    let unknown = |(_, answer): &&(ServiceId, Answer<_>)| matches!(answer, Answer::Unknown(_));
    serde_json::json!({
        "seed": seed.to_string(),
        "verdict": verdict.to_string(),
        "kills": kill::counts(&history.kills),
        "kills_during": kill::phases(&history.kills, &world.deployments),
        "deployments_by_end": ends,
        "deployments_with_unknown_answer": history.deployments.iter().filter(unknown).count(),
        "variables_set": history.variables.len(),
        "scales": history.scales.len(),
        "projects_deleted": history.deletions.len(),
        "requests": history.requests.len(),
        "requests_failed_with_their_edge": judge::excused(history),
        "settled_after_last_kill_seconds": settled.as_secs_f64(),
    })
}
