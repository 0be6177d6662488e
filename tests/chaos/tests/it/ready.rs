//! How long after a `kill -9` each program is ready again. Judged where nobody else has the machine, in the long run:
//! beside other tests it would be their load that is measured.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use chaos::{report, scale::Scale};
use e2e::platform::Platform;
use serde_json::json;
use tokio::time::sleep;

const KILLS: usize = 10;
/// The supervisor takes its time with a process that ran for less before it ended.
const STABLE_AFTER: Duration = Duration::from_secs(11);
const BARS: [(&str, Duration); 3] = [
    ("control-plane", Duration::from_secs(5)),
    ("agent", Duration::from_secs(3)),
    ("edge", Duration::from_secs(2)),
];

#[tokio::test]
async fn control_plane_agent_and_edge_are_ready_again_soon_after_a_crash() -> Result<()> {
    let platform = Platform::alone().await?;
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let scale = Scale::of_this_run();
    for round in 0..scale.of(KILLS) {
        if round > 0 {
            sleep(STABLE_AFTER).await;
        }
        for (kind, bar) in BARS {
            let took = ready_again(&platform, process(&platform, kind)?).await?;
            times.entry(kind).or_default().push(took.as_secs_f64());
            assert!(
                took <= bar || scale == Scale::Tenth,
                "{kind}: {took:?}, at most {bar:?}"
            );
        }
    }
    assert_late_is_seen(&platform, BARS[2]).await?;
    report::write("ready", &json!(times))
}

/// Who is kept away for as long as it may take is not taken for ready.
async fn assert_late_is_seen(platform: &Platform, (kind, bar): (&str, Duration)) -> Result<()> {
    let name = process(platform, kind)?;
    let pid = platform.process(name).await?.pid;
    let killed = Instant::now();
    platform.kill_and_hold(name).await?;
    let keep_away = async {
        sleep(bar).await;
        platform.hold(name, false).await
    };
    let wait = platform.wait_ready(name, pid);
    let (let_go, ()) = tokio::join!(keep_away, wait);
    let_go?;
    let took = killed.elapsed();
    assert!(took > bar, "{kind}: {took:?}, kept away for {bar:?}");
    Ok(())
}

/// The first of that kind.
fn process<'a>(platform: &'a Platform, kind: &str) -> Result<&'a str> {
    let mut names = platform
        .status
        .processes
        .iter()
        .map(|one| one.name.as_str());
    names
        .find(|name| name.contains(kind))
        .with_context(|| format!("no {kind}"))
}

/// From the signal until the supervisor has heard READY=1 from the next process.
async fn ready_again(platform: &Platform, name: &str) -> Result<Duration> {
    let pid = platform.kill(name).await?;
    let killed = Instant::now();
    platform.wait_ready(name, Some(pid)).await;
    Ok(killed.elapsed())
}
