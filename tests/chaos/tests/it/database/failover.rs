//! The server is killed in the midst of changes, and its standby takes its address.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos::{
    engine,
    history::{Answer, History, Kill},
    judge::{self, Demands, Verdict, Violation},
    postgres::{Server, Standby},
    report,
    work::Work,
    world::World,
};
use chrono::Utc;
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{REQUESTS_AT_LEAST, epoch, followed, load};
use crate::support::{deployed, settled};

const WORK_WITHIN: Duration = Duration::from_secs(60);
const RISEN_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_standby_takes_over_with_every_acknowledged_write_and_nothing_is_stopped() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let server = Server::of(&platform)?;
    let (epoch_before, timeline) = (epoch(&server).await?, timeline(&server).await?);
    let before = engine::running(&platform).await?;
    let load = load(&platform, &[&fixture]);
    let (mut history, outage) = Box::pin(work_and_fail_over(&platform, &fixture, &server)).await?;
    ensure!(
        self::timeline(&server).await? != timeline,
        "an invalid run: the standby was not promoted"
    );
    let epoch_now = risen(&server, epoch_before).await?;
    followed(&server, epoch_now).await?;
    let (world, took) = settled(&platform, fixture.environment, &history).await?;
    history.requests = load.stop().await.records;

    let demands = Demands {
        requests: REQUESTS_AT_LEAST,
        deployments: 2,
        live: 2,
        kills: 1,
        phases: &[],
    };
    let verdict = judge::judge(&history, &world, &demands);
    let report = json!({
        "verdict": verdict.to_string(),
        "seconds_without_a_database": outage.as_secs_f64(),
        "settled_after_seconds": took.as_secs_f64(),
        "requests": history.requests.len(),
        "variables_set": history.variables.len(),
    });
    report::write("failover", &report)?;
    assert!(verdict.is_pass(), "{verdict}");
    let is_wanted = |id: &String| world.instances.get(id).is_some_and(|one| one.wanted);
    let kept = before.into_iter().filter(|one| is_wanted(&one.instance));
    super::run_on(&platform, &kept.collect()).await?;
    ensure!(
        epoch(&server).await? == epoch_now,
        "one promotion began more than one epoch"
    );
    assert_the_judge_would_see_a_standby_that_lagged(&history, world, &demands);
    platform.delete(&fixture).await
}

/// The epoch that replicas begin when they see the new timeline.
async fn risen(server: &Server, before: i64) -> Result<i64> {
    wait::outcome(RISEN_WITHIN, || async {
        let now = epoch(server).await?;
        ensure!(now > before, "the epoch is {now} still");
        Ok(now)
    })
    .await
}

async fn timeline(server: &Server) -> Result<String> {
    server
        .sql("select timeline_id from pg_control_checkpoint()")
        .await
}

/// Changes before, while and after the server is away; how long it was.
async fn work_and_fail_over(
    platform: &Platform,
    fixture: &Fixture,
    server: &Server,
) -> Result<(History, Duration)> {
    let first = platform.newest_deployment(fixture.service.id).await?;
    let standby = Standby::follow(server.clone()).await?;
    let (stop, stopped) = watch::channel(false);
    let work = Work::new(platform, stopped);
    let failing_over = async {
        let done = fail_over(platform, &work, standby).await;
        stop.send_replace(true);
        done
    };
    let (failed_over, scaled, set) = tokio::join!(
        failing_over,
        work.scale_and_redeploy(fixture.service.id, "us-east"),
        work.set_variables(fixture),
    );
    scaled.and(set)?;
    let (kill, outage) = failed_over?;
    let mut history = work.into_history();
    let told = (first.service_id, Answer::Acknowledged(first.id));
    history.deployments.insert(0, told);
    history.kills.push(kill);
    Ok((history, outage))
}

async fn fail_over(
    platform: &Platform,
    work: &Work<'_>,
    standby: Standby,
) -> Result<(Kill, Duration)> {
    work.has_done(1, 3, WORK_WITHIN).await?;
    let (at, began) = (Utc::now(), Instant::now());
    standby.take_over(platform).await?;
    let outage = began.elapsed();
    let kill = Kill {
        process: "postgres".to_owned(),
        at,
        back: Some(Utc::now()),
        edge: None,
    };
    work.has_done(0, 3, WORK_WITHIN).await?;
    Ok((kill, outage))
}

/// The last value of one variable is not there: it never reached the standby.
fn assert_the_judge_would_see_a_standby_that_lagged(
    history: &History,
    mut world: World,
    demands: &Demands,
) {
    let acknowledged = history.variables.iter().rev();
    let ((name, value), _) = acknowledged
        .filter(|(_, answer)| answer.acknowledged().is_some())
        .find(|((name, value), _)| world.variables.get(name) == Some(value))
        .context("an acknowledged variable")
        .expect("a passed run has acknowledged variables");
    world.variables.insert(name.clone(), "-1".to_owned());
    let lost = Violation::VariableLost {
        name: name.clone(),
        found: Some("-1".to_owned()),
        expected: value.clone(),
    };
    let verdict = judge::judge(history, &world, demands);
    assert_eq!(verdict, Verdict::Fail(vec![lost]));
}
