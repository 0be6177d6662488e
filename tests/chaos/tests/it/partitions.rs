//! Parts of the platform that can't reach the control plane, wholly, one way, or now and then: tenants'
//! traffic goes on, and when it heals all converge.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos::{
    report,
    scale::{self, Scale},
};
use e2e::{
    fault::{Partition, Party, Way},
    platform::{Fixture, Platform},
};
use rand::seq::IndexedRandom as _;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{converged, deployed, load};

/// Longer than a silent line is taken for alive, shorter than a node is taken for late.
const LASTS: Duration = Duration::from_secs(25);
const FLAPS: Duration = Duration::from_secs(3);
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
const REQUESTS_AT_LEAST: usize = 200;

/// One way to be cut off.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    party: Party<'static>,
    way: Way,
    loss: f32,
    flapping: bool,
}

const fn case(name: &'static str, party: Party<'static>, way: Way) -> Case {
    Case {
        name,
        party,
        way,
        loss: 1.0,
        flapping: false,
    }
}

const AGENT: Party<'static> = Party::Process("us-east-agent");
const EDGE: Party<'static> = Party::Process("us-east-edge");
const REGION: Party<'static> = Party::Region("eu-west");

const CASES: [Case; 10] = [
    case("agent", AGENT, Way::Both),
    case("agent hears nothing", AGENT, Way::In),
    case("agent is not heard", AGENT, Way::Out),
    case("edge", EDGE, Way::Both),
    case("edge hears nothing", EDGE, Way::In),
    case("edge is not heard", EDGE, Way::Out),
    case("region", REGION, Way::Both),
    case("region hears nothing", REGION, Way::In),
    Case {
        flapping: true,
        ..case("region, flapping", REGION, Way::Both)
    },
    Case {
        loss: 0.1,
        ..case("region, a tenth of the packets lost", REGION, Way::Both)
    },
];

#[tokio::test]
async fn who_is_cut_off_serves_on_and_converges_when_it_heals() -> Result<()> {
    let seed = scale::seed();
    println!("RAILHEAD_CHAOS_SEED={seed}");
    let platform = Platform::running().await?;
    let fixture = deployed(&platform).await?;
    let count = Scale::of_this_run().of(CASES.len());
    let chosen: Vec<_> = CASES.sample(&mut scale::choices(seed), count).collect();
    let mut report = Vec::new();
    for (case, replicas) in chosen.into_iter().zip([2, 1].into_iter().cycle()) {
        let load = load(&platform, &fixture);
        let outcome = cut_and_heal(&platform, &fixture, case, replicas).await;
        let summary = load.stop().await;
        let took = outcome.with_context(|| format!("{} (seed {seed})", case.name))?;
        report.push(json!({
            "case": case.name,
            "converged_seconds": took.as_secs_f64(),
            "requests": summary.records.len(),
        }));
        println!("{}", case.name);
        summary.assert_none_failed(REQUESTS_AT_LEAST);
    }
    report::write(
        "partitions",
        &json!({ "seed": seed.to_string(), "cases": report }),
    )?;
    platform.delete(&fixture).await
}

/// A change is asked for meanwhile, so that there is something to catch up with.
async fn cut_and_heal(
    platform: &Platform,
    fixture: &Fixture,
    case: &Case,
    replicas: u32,
) -> Result<Duration> {
    let begin = || Partition::begin(platform, case.party, case.way, case.loss);
    let cut = begin().await?;
    let scale = [("us-east", replicas), ("eu-west", replicas)];
    platform.scale(fixture.service.id, &scale).await?;
    let lost = if case.flapping {
        flap(cut, begin).await?
    } else {
        sleep(LASTS).await;
        cut.heal()?
    };
    ensure!(lost > 0, "an invalid run: the partition met no packet");
    converged(platform, fixture, CONVERGED_WITHIN).await
}

/// Heals and begins again; how many packets were lost in all.
async fn flap<F: Future<Output = Result<Partition>>>(
    first: Partition,
    begin: impl Fn() -> F,
) -> Result<u64> {
    sleep(FLAPS).await;
    let mut lost = first.heal()?;
    for _ in 1..LASTS.as_secs() / (2 * FLAPS.as_secs()) {
        sleep(FLAPS).await;
        let cut = begin().await?;
        sleep(FLAPS).await;
        lost += cut.heal()?;
    }
    Ok(lost)
}
