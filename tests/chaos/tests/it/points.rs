//! `kill -9` where it hurts most: after a commit and before its answer, after a thing was made and before
//! anybody was told of it; of the process that did it, or of the one that it did it with. And a process that
//! hangs for good. `./dev test` draws half of the strikes.

use std::time::Duration;

use anyhow::Result;
use chaos::{
    history::{Answer, History, Kill},
    judge::{self, Demands, Ends, Verdict, Violation},
    kill,
    point::Point,
    report,
    work::Work,
    world::{Container, World},
};
use e2e::{
    load::Load,
    platform::{Fixture, Platform},
    scale::{self, Scale},
};
use futures::future::try_join_all;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use tokio::sync::watch;

use crate::support::{LIGHT, deployed, settled};

const CONTROL_PLANES: &[&str] = &["control-plane-1", "control-plane-2", "control-plane-3"];
const AGENT: &[&str] = &["us-east-agent"];
const AGENTS: &[&str] = &["us-east-agent", "eu-west-agent"];
const EDGE: &[&str] = &["us-east-edge"];

/// Lanes beside one another, each with one strike after another.
const LANES: [&[Point]; 7] = [
    &[
        Point::new("mutation-committed", CONTROL_PLANES),
        Point::new("mutation-committed", CONTROL_PLANES).kills("postgres"),
        Point::new("mutation-committed", CONTROL_PLANES).kills("redis"),
        Point::new("step-written", CONTROL_PLANES),
        Point::new("step-written", CONTROL_PLANES).kills("postgres"),
        Point::new("step-committed", CONTROL_PLANES),
        Point::new("step-committed", CONTROL_PLANES).kills("postgres"),
        Point::new("report-stored", CONTROL_PLANES),
        Point::new("release-written", CONTROL_PLANES),
        Point::new("plan-applied", CONTROL_PLANES),
        Point::new("routes-written", CONTROL_PLANES),
    ],
    &[
        Point::new("feed-stored", AGENT),
        Point::new("container-created", AGENT),
        Point::new("container-created", AGENT).kills_of_its_region("engine"),
        Point::new("container-started", AGENT),
        Point::new("container-removed", AGENT),
        Point::new("container-removed", AGENT).kills_of_its_region("engine"),
    ],
    &[
        Point::new("feed-stored", EDGE),
        Point::new("table-applied", EDGE),
    ],
    &[
        Point::new("build-assigned", CONTROL_PLANES),
        Point::new("image-pushed", AGENTS),
        Point::new("image-pushed", AGENTS).kills_of_its_region("build-engine"),
        Point::new("image-pushed", AGENTS).kills("registry"),
    ],
    // A worker waits for a lock for ever: only the watchdog helps, after 15 s; of a control plane after 60 s.
    &[Point::new("deadlock", &["eu-west-edge"])],
    &[Point::new("deadlock", &["eu-west-agent"])],
    &[Point::new("deadlock", &["control-plane-2"])],
];
/// A point is come to with the next change; a worker's deadlock begins with the next sign of life.
const STRUCK_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn at_every_named_point_a_process_can_die_and_nothing_is_lost_or_done_twice() -> Result<()> {
    let run = report::Seeded::begin("points")?;
    let platform = Platform::alone().await?;
    let (built, scaled) = tokio::try_join!(deployed(&platform), deployed(&platform))?;
    let edges = [platform.edges(&built.host), platform.edges(&scaled.host)].concat();
    let load = Load::start(&edges, &LIGHT);
    let lanes = drawn(Scale::of_this_run(), run.seed());
    let mut history = Box::pin(strike_and_work(&platform, &built, &scaled, &lanes)).await?;
    let (world, took) = settled(&platform, built.environment, &history).await?;
    history.requests = load.stop().await.records;

    let struck = lanes.iter().map(Vec::len).sum();
    let demands = Demands {
        requests: 200,
        deployments: 4,
        live: 2,
        kills: struck,
        phases: &[],
    };
    let verdict = judge::judge(&history, &world, &demands);
    let ends = Ends::of(&history, &world);
    run.end(json!({
        "verdict": verdict.to_string(),
        "points": struck,
        "deployments_ended": ends.ended,
        "deployments_failed_by_the_platform": ends.failed,
        "kills": kill::counts(&history.kills),
        "requests": history.requests.len(),
        "requests_failed_with_their_edge": judge::excused(&history),
        "settled_after_last_kill_seconds": took.as_secs_f64(),
    }))?;
    assert!(verdict.is_pass(), "{verdict}");
    assert_the_judge_would_see_a_second_container(&history, world, &demands);
    platform.delete(&built).await?;
    platform.delete(&scaled).await
}

/// Of each lane all strikes, or some.
fn drawn(scale: Scale, seed: u64) -> Vec<Vec<Point>> {
    let mut choices = scale::choices(seed);
    let drawn = LANES.map(|lane| match scale {
        Scale::Full => lane.to_vec(),
        Scale::Tenth => lane
            .sample(&mut choices, lane.len().div_ceil(2))
            .copied()
            .collect(),
    });
    drawn.into()
}

/// Strikes at all points; the work goes on until the last one has been survived.
async fn strike_and_work(
    platform: &Platform,
    built: &Fixture,
    scaled: &Fixture,
    lanes: &[Vec<Point>],
) -> Result<History> {
    let first = platform.newest_deployment(built.service.id).await?;
    let other = platform.newest_deployment(scaled.service.id).await?;
    let (stop, stopped) = watch::channel(false);
    let work = Work::new(platform, stopped);
    let striking = async {
        let lanes = lanes.iter().map(|lane| strike_all(platform, lane));
        let kills = try_join_all(lanes).await;
        stop.send_replace(true);
        kills
    };
    let (kills, worked, redeployed, set) = tokio::join!(
        striking,
        work.build_and_roll_back(&first),
        work.scale_and_redeploy(scaled.service.id, "us-east"),
        work.set_variables(built),
    );
    worked.and(redeployed).and(set)?;
    let mut history = work.into_history();
    let told = [first, other].map(|one| (one.service_id, Answer::Acknowledged(one.id)));
    history.deployments.splice(0..0, told);
    history.kills = kills?.concat();
    history.kills.sort_by_key(|kill| kill.at);
    Ok(history)
}

async fn strike_all(platform: &Platform, points: &[Point]) -> Result<Vec<Kill>> {
    let mut kills = Vec::new();
    for point in points {
        kills.extend(point.strike(platform, STRUCK_WITHIN).await?);
    }
    Ok(kills)
}

/// As an agent would leave it that forgets what it has created.
fn assert_the_judge_would_see_a_second_container(
    history: &History,
    mut world: World,
    demands: &Demands,
) {
    let one: Container = world.containers[0].clone();
    world.containers.push(one.clone());
    let verdict = judge::judge(history, &world, demands);
    let doubled = Violation::OrphanContainer {
        region: one.region,
        instance: one.instance,
        count: 2,
        why: "is one",
    };
    assert_eq!(verdict, Verdict::Fail(vec![doubled]));
}
