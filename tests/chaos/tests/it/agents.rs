//! Agents that are told to end, as by an upgrade, amid a deployment and when all is calm: what runs runs on as it
//! is, what is under way goes on with the next agent, no node is late, and no user notices.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use api::deployment::{Deployment, DeploymentSource, DeploymentState as Step};
use chaos::{engine, history::History, judge::Demands};
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use nix::sys::signal::Signal;

use crate::support::{CONVERGED_WITHIN, converged, deployed, judge_all, load, told};

const AGENTS: [&str; 2] = ["us-east-agent", "eu-west-agent"];
/// At which an agent has something to do. Each ends once amid the deployment: the supervisor takes its time with a
/// process that ends again and again.
const AMID: [(Step, &str); 2] = [(Step::Starting, AGENTS[0]), (Step::Draining, AGENTS[1])];
const COMES_WITHIN: Duration = Duration::from_secs(60);
/// The supervisor would kill them later.
const GONE_WITHIN: Duration = Duration::from_secs(9);
const DEMANDS: Demands = Demands {
    requests: 60,
    deployments: 2,
    live: 2,
    kills: 0,
    phases: &[],
};

#[tokio::test]
async fn agents_that_are_told_to_end_leave_all_as_it_is_to_the_next_ones() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let load = load(&platform, &fixture);
    let ends = ends(&platform)?;

    let redeployed = redeploy(&platform, &fixture).await?;
    let before = containers(&platform, &fixture).await?;
    tell_to_end(&platform, &AGENTS).await?;
    converged(&platform, &fixture, CONVERGED_WITHIN).await?;
    assert_eq!(containers(&platform, &fixture).await?, before);

    let history = History {
        deployments: [first, redeployed].iter().map(told).collect(),
        requests: load.stop().await.records,
        ..History::default()
    };
    judge_all(&platform, &fixture, &history, DEMANDS).await?;
    let each = ends.map(|said| said + 2);
    assert_eq!(self::ends(&platform)?, each, "ends with a last report");
    platform.delete(&fixture).await
}

/// Until it is live, although the agents end at some of its steps.
async fn redeploy(platform: &Platform, fixture: &Fixture) -> Result<Deployment> {
    let source = Some(DeploymentSource::Current);
    let begun = platform.begin(fixture.service.id, source).await?;
    for (step, agent) in AMID {
        wait::outcome(COMES_WITHIN, || async {
            let now = platform.deployment(&begun).await?;
            ensure!(now.state >= step, "it is {:?}", now.state);
            Ok(())
        })
        .await?;
        tell_to_end(platform, &[agent]).await?;
    }
    let ended = platform.end_of(&begun, COMES_WITHIN).await;
    ensure!(ended.state == Step::Live, "{:?}", ended.error);
    Ok(ended)
}

/// All at once; returns when the next ones are ready.
async fn tell_to_end(platform: &Platform, agents: &[&str]) -> Result<()> {
    let mut ending = Vec::new();
    for agent in agents {
        ending.push((agent, platform.signal(agent, Signal::SIGTERM).await?));
    }
    for (agent, pid) in ending {
        let process = Path::new("/proc").join(pid.to_string());
        wait::outcome(GONE_WITHIN, || async {
            ensure!(!process.exists(), "{agent}, process {pid}, is still there");
            Ok(())
        })
        .await?;
        platform.wait_ready(agent, Some(pid)).await;
    }
    Ok(())
}

/// Those of the service that run, by region and the engine's own names of them.
async fn containers(platform: &Platform, fixture: &Fixture) -> Result<BTreeSet<(String, String)>> {
    let mut all = BTreeSet::new();
    for region in platform.status.regions.keys() {
        let (container, _) = engine::published(platform, region, fixture.service.id).await?;
        all.insert((region.clone(), container));
    }
    Ok(all)
}

/// How often each agent has said that it ends and has reported before.
fn ends(platform: &Platform) -> Result<[usize; 2]> {
    let folder = platform.data()?.join("log");
    let said = |agent: &str| {
        let file = folder.join(format!("{agent}.log"));
        let log =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let is_end = |line: &&str| {
            line.contains("the agent ends, containers run on") && line.contains("\"reported\":true")
        };
        anyhow::Ok(log.lines().filter(is_end).count())
    };
    Ok([said(AGENTS[0])?, said(AGENTS[1])?])
}
