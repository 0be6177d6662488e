//! An edge that can't hear the control plane, and an address in its table that another tenant's container has
//! got meanwhile: nobody is answered by a stranger.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chaos::{
    engine,
    judge::{self, Answered, Verdict},
};
use domain::id::ServiceId;
use e2e::{
    edge::{Edge, Version},
    example::{about, answers_from},
    fault::{Partition, Party, Way},
    platform::{Fixture, Platform},
    wait,
};
use serde_json::{Value, json};
use tokio::time::interval;

use crate::support::{CONVERGED_WITHIN, converged, small};

const REGION: &str = "eu-west";
const AGENT: &str = "eu-west-agent";
const EDGE: &str = "eu-west-edge";
const ASKED_EVERY: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_AT_LEAST: usize = 100;

#[tokio::test]
async fn an_edge_with_an_old_table_sends_nobody_to_another_tenants_container() -> Result<()> {
    let platform = Platform::alone().await?;
    let (own, other) = tokio::try_join!(in_one_region(&platform), in_one_region(&platform))?;
    let deployed = platform.deploy(own.service.id, None).await?;
    let edge = platform.edge(REGION, &own.host);
    answers_from(&edge, REGION).await;
    let asking = Asking::start(edge);
    let mut cut = Partition::begin(&platform, Party::Process(EDGE), Way::Both, 1.0).await?;
    let (container, address) = engine::published(&platform, REGION, own.service.id).await?;

    // A container that is gone gets another address; the edge does not hear of it.
    with_agent_held(&platform, async |ports| {
        engine::remove(&platform, REGION, &container).await?;
        next_port(&ports, address + 1)
    })
    .await?;
    moved(&platform, own.service.id, address).await?;
    // And the old one is given to somebody else, sooner than it ever should be.
    with_agent_held(&platform, async |ports| next_port(&ports, address)).await?;
    let begun = platform.begin(other.service.id, None).await?;
    let got = wait::outcome(WITHIN, || {
        engine::published(&platform, REGION, other.service.id)
    });
    ensure!(
        got.await?.1 == address,
        "an invalid run: {address} is not taken again"
    );
    asking.goes_on(ANSWERS_AT_LEAST).await?;
    // From disk, where the table is as old.
    let pid = platform.kill(EDGE).await?;
    platform.wait_ready(EDGE, Some(pid)).await;
    asking.goes_on(ANSWERS_AT_LEAST).await?;
    ensure!(
        cut.heal()? > 0,
        "an invalid run: the partition met no packet"
    );

    let mut answers = asking.stop().await?;
    let is_own = deployed.id.to_string();
    let judge = |answers: &_| judge::judge_answers(&own.host, &is_own, answers, ANSWERS_AT_LEAST);
    let verdict = judge(&answers);
    assert!(verdict.is_pass(), "{verdict}");
    answers.push(Answered::By(begun.id.to_string()));
    assert!(matches!(judge(&answers), Verdict::Fail(_)));
    converged(&platform, &own, CONVERGED_WITHIN).await?;
    platform.delete(&own).await?;
    platform.delete(&other).await
}

/// No other region could answer in its place.
async fn in_one_region(platform: &Platform) -> Result<Fixture> {
    let mut spec = small(platform);
    spec["scale"]["regions"] = json!({ REGION: 1 });
    platform.fixture("web", spec).await
}

/// Does something while the agent is away, with the file that says which ports it has given out.
async fn with_agent_held(
    platform: &Platform,
    change: impl AsyncFnOnce(PathBuf) -> Result<()>,
) -> Result<()> {
    platform.kill_and_hold(AGENT).await?;
    let data = platform.status.ca_file.parent().context("no data folder")?;
    let done = change(data.join(REGION).join("agent/ports.json")).await;
    platform.bring_back(AGENT).await?;
    done
}

/// Lets the agent give out this port next, and forget that any was held lately.
fn next_port(file: &PathBuf, port: u16) -> Result<()> {
    let rotation = json!({ "last": port - 1, "held_at": {} });
    fs::write(file, rotation.to_string()).with_context(|| format!("writing {}", file.display()))
}

async fn moved(platform: &Platform, service: ServiceId, from: u16) -> Result<()> {
    wait::outcome(WITHIN, || async {
        let (_, now) = engine::published(platform, REGION, service).await?;
        ensure!(now != from, "an invalid run: it has its old address again");
        Ok(())
    })
    .await
}

/// Somebody who asks again and again.
struct Asking {
    answered: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Answered>>,
}

impl Asking {
    fn start(edge: Edge) -> Self {
        let (answered, over) = (Arc::default(), Arc::default());
        let task = tokio::spawn(ask(edge, Arc::clone(&answered), Arc::clone(&over)));
        Self {
            answered,
            over,
            task,
        }
    }

    /// Waits until so many more have been answered by somebody.
    async fn goes_on(&self, more: usize) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        wait::outcome(WITHIN, || async {
            let now = self.answered.load(Ordering::Relaxed) - before;
            ensure!(
                now >= more,
                "an invalid run: only {now} requests were answered"
            );
            Ok(())
        })
        .await
    }

    async fn stop(self) -> Result<Vec<Answered>> {
        self.over.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

async fn ask(edge: Edge, answered: Arc<AtomicUsize>, over: Arc<AtomicBool>) -> Vec<Answered> {
    let mut answers = Vec::new();
    let mut pace = interval(ASKED_EVERY);
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let deployment = |about: Value| about["deployment"].as_str().map(str::to_owned);
        answers.push(match about(&edge, Version::Http1).await.map(deployment) {
            Ok(Some(deployment)) => {
                answered.fetch_add(1, Ordering::Relaxed);
                Answered::By(deployment)
            }
            Ok(None) => Answered::Failed("an answer without a deployment".to_owned()),
            Err(error) => Answered::Failed(format!("{error:#}")),
        });
    }
    answers
}
