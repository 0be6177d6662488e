//! How long after a `kill -9` each program is ready again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chaos::{report, scale::Scale};
use e2e::platform::Platform;
use serde_json::json;

const KILLS: usize = 10;
const BARS: [(&str, Duration); 3] = [
    ("control-plane", Duration::from_secs(5)),
    ("agent", Duration::from_secs(3)),
    ("edge", Duration::from_secs(2)),
];

#[tokio::test]
async fn control_plane_agent_and_edge_are_ready_again_soon_after_a_crash() -> Result<()> {
    let platform = Platform::running().await?;
    let mut report = Vec::new();
    for (kind, bar) in BARS {
        let name = platform
            .status
            .processes
            .iter()
            .map(|process| process.name.as_str())
            .find(|name| name.contains(kind))
            .with_context(|| format!("no {kind}"))?;
        let mut times = Vec::new();
        for _ in 0..Scale::of_this_run().of(KILLS) {
            times.push(ready_again(&platform, name).await?);
        }
        times.sort();
        let worst = times.last().copied().unwrap_or_default();
        let seconds: Vec<_> = times.iter().map(Duration::as_secs_f64).collect();
        report.push(json!({ "process": kind, "seconds": seconds }));
        assert!(worst <= bar, "{kind}: {worst:?}, at most {bar:?}");
    }
    report::write("ready", &json!(report))
}

/// From the signal until the supervisor has heard READY=1 from the next process.
async fn ready_again(platform: &Platform, name: &str) -> Result<Duration> {
    let pid = platform.kill(name).await?;
    let killed = Instant::now();
    platform.wait_ready(name, Some(pid)).await;
    Ok(killed.elapsed())
}
