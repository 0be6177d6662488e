//! Networks and processes that go wrong without ending. While a fault lasts, users are served and a
//! change that was asked for does no harm; when it is over, all converges.

mod bad_line;
mod paused;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::deployment::{Deployment, DeploymentSource, DeploymentState};
use chaos::{
    history::{History, Write},
    judge::Demands,
    report,
    scale::{self, Scale},
};
use chrono::Utc;
use domain::id::{DeploymentId, ServiceId};
use e2e::{
    fault::{Partition, Party, Way},
    platform::{Fixture, Platform},
};
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::{bad_line::BadLine, paused::Paused};
use crate::support::{CONVERGED_WITHIN, converged, deployed, judge_all, load, told};

/// Longer than a silent line is taken for alive, shorter than a node is taken for late.
const LASTS: Duration = Duration::from_secs(25);
const FLAP: Duration = Duration::from_secs(3);
/// In each fault.
const DEMANDS: Demands = Demands {
    requests: 200,
    deployments: 2,
    live: 2,
    kills: 0,
    phases: &[],
};

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Somebody does not reach the control plane.
    CutOff(Party<'static>, Way),
    /// So, and then again, and so on.
    Flapping(Party<'static>),
    /// A tenth of the packets is lost.
    Lossy(Party<'static>),
    /// 300 ms each way, give or take 100.
    SlowLine(&'static str),
    /// Every connection is reset every few seconds.
    BreakingLine(&'static str),
    /// A process stands still for longer than its leases.
    Paused(&'static str),
}

use Fault::{BreakingLine, CutOff, Flapping, Lossy, SlowLine};

const AGENT: Party<'static> = Party::Process("us-east-agent");
const EDGE: Party<'static> = Party::Process("us-east-edge");
const REGION: Party<'static> = Party::Region("eu-west");

const FAULTS: [Fault; 18] = [
    CutOff(AGENT, Way::Both),
    CutOff(AGENT, Way::In),
    CutOff(AGENT, Way::Out),
    CutOff(EDGE, Way::Both),
    CutOff(EDGE, Way::In),
    CutOff(EDGE, Way::Out),
    CutOff(REGION, Way::Both),
    CutOff(REGION, Way::In),
    CutOff(REGION, Way::Out),
    Flapping(AGENT),
    Flapping(EDGE),
    Flapping(REGION),
    Lossy(AGENT),
    Lossy(EDGE),
    Lossy(REGION),
    SlowLine("eu-west"),
    BreakingLine("eu-west"),
    Fault::Paused("control-plane"),
];

/// A fault that is there.
enum Active {
    Partition(Partition),
    Flapping(Option<Partition>),
    Line(BadLine),
    Paused(Paused),
}

#[tokio::test]
async fn users_are_served_during_each_fault_and_all_converges_after_it() -> Result<()> {
    let run = report::Seeded::begin("faults")?;
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let mut asked = vec![told(&first)];
    let count = Scale::of_this_run().of(FAULTS.len());
    let mut report = Vec::new();
    for fault in FAULTS.sample(&mut scale::choices(run.seed()), count) {
        report::say(&format!("{fault:?}"));
        let outcome = Box::pin(suffer(&platform, &fixture, &mut asked, *fault)).await;
        report.push(outcome.with_context(|| format!("{fault:?}"))?);
    }
    run.end(json!({ "faults": report }))?;
    platform.delete(&fixture).await
}

async fn suffer(
    platform: &Platform,
    fixture: &Fixture,
    asked: &mut Vec<Write<ServiceId, DeploymentId>>,
    fault: Fault,
) -> Result<Value> {
    let mut active = fault.begin(platform).await?;
    let load = load(platform, fixture);
    let source = Some(DeploymentSource::Current);
    let change = platform.begin(fixture.service.id, source).await?;
    asked.push(told(&change));
    active.last(platform, fault).await?;
    active.heal()?;
    let healed = Utc::now();
    let took = converged(platform, fixture, CONVERGED_WITHIN).await?;
    let history = History {
        deployments: asked.clone(),
        requests: load.stop().await.records,
        ..History::default()
    };

    let change = platform.deployment(&change).await?;
    ensure!(
        change.state == DeploymentState::Live,
        "the change is {:?}: {:?}",
        change.state,
        change.error
    );
    let went_on = change.finished_at.is_some_and(|at| at < healed);
    ensure!(
        went_on || !fault.lets_changes_through(),
        "the change waited until the fault was over"
    );
    judge_all(platform, fixture, &history, DEMANDS).await?;
    Ok(json!({
        "fault": format!("{fault:?}"),
        "converged_seconds": took.as_secs_f64(),
        "change_seconds": seconds(&change),
        "requests": history.requests.len(),
    }))
}

fn seconds(deployment: &Deployment) -> Option<f64> {
    let took = deployment.finished_at? - deployment.created_at;
    Some(took.as_seconds_f64())
}

impl Fault {
    async fn begin(self, platform: &Platform) -> Result<Active> {
        let partition = async |party, way, loss| Partition::begin(platform, party, way, loss).await;
        Ok(match self {
            CutOff(party, way) => Active::Partition(partition(party, way, 1.0).await?),
            Flapping(party) => Active::Flapping(Some(partition(party, Way::Both, 1.0).await?)),
            Lossy(party) => Active::Partition(partition(party, Way::Both, 0.1).await?),
            SlowLine(region) => Active::Line(BadLine::slow(platform, region).await?),
            BreakingLine(region) => Active::Line(BadLine::breaking(platform, region).await?),
            Self::Paused(name) => Active::Paused(Paused::new(platform, name)?),
        })
    }

    /// Whether a change can be carried through while it lasts.
    fn lets_changes_through(self) -> bool {
        matches!(self, Lossy(_) | SlowLine(_) | BreakingLine(_))
    }
}

impl Active {
    /// Lets it last.
    async fn last(&mut self, platform: &Platform, fault: Fault) -> Result<()> {
        match self {
            Self::Partition(_) => sleep(LASTS).await,
            Self::Flapping(partition) => flap(platform, fault, partition).await?,
            Self::Line(line) => line.last(LASTS).await,
            Self::Paused(paused) => paused.stand_still().await?,
        }
        Ok(())
    }

    /// Ends it, and insists that it was there.
    fn heal(&mut self) -> Result<()> {
        match self {
            Self::Partition(partition) => {
                ensure!(partition.heal()? > 0, "an invalid run: no packet was lost");
            }
            Self::Flapping(partition) => drop(partition.take()),
            Self::Line(line) => line.heal()?,
            Self::Paused(paused) => paused.go_on()?,
        }
        Ok(())
    }
}

/// Heals and begins again, and again.
async fn flap(platform: &Platform, fault: Fault, partition: &mut Option<Partition>) -> Result<()> {
    let mut lost = 0;
    for _ in 0..LASTS.as_secs() / (2 * FLAP.as_secs()) {
        sleep(FLAP).await;
        if let Some(mut ended) = partition.take() {
            lost += ended.heal()?;
        }
        sleep(FLAP).await;
        if let Active::Flapping(next) = Box::pin(fault.begin(platform)).await? {
            *partition = next;
        }
    }
    ensure!(lost > 0, "an invalid run: no packet was lost");
    Ok(())
}
