//! Agents that come back after a restart of the control plane: all of them soon, and not all at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use testkit::fake_agent::FakeAgent;

use crate::{
    agents,
    figure::{Figure, count},
    installation::Installation,
};

const SETTLED: Duration = Duration::from_secs(180);
const ALL_WITHIN_SECONDS: f64 = 60.0;
/// The mean is taken over this long.
const MEAN_OVER_SECONDS: f64 = 30.0;
/// What a replacement by `./dev` or systemd takes.
const AWAY: Duration = Duration::from_secs(2);

/// Kills the control plane under them, and starts it again.
pub async fn run(agents: usize) -> Result<Vec<Figure>> {
    let mut installation = Installation::new("").await?;
    let begun = Instant::now();
    let agents = agents::join(&installation, agents).await?;
    let joined = begun.elapsed();
    join_all(agents.iter().map(|agent| following(agent, true))).await;
    installation.kill()?;
    join_all(agents.iter().map(|agent| following(agent, false))).await;
    tokio::time::sleep(AWAY).await;
    let starting = Instant::now();
    let back = join_all(agents.iter().map(|agent| async move {
        following(agent, true).await;
        starting.elapsed()
    }));
    let (started, back) = tokio::join!(installation.start(), back);
    started?;
    Ok(figures(joined, &back))
}

/// Until the agent's feed is followed, or is not.
async fn following(agent: &FakeAgent, wanted: bool) {
    let mut status = agent.feed_status();
    let reached = status.wait_for(|status| status.connected == wanted);
    let reached = tokio::time::timeout(SETTLED, reached).await;
    assert!(reached.is_ok(), "an agent's feed did not get there in time");
}

fn figures(joined: Duration, back: &[Duration]) -> Vec<Figure> {
    let last = back.iter().max().copied().unwrap_or_default();
    let busiest = busiest_second(back);
    let mean = count(back.len()) / MEAN_OVER_SECONDS;
    let agents = back.len();
    vec![
        Figure::new(format!("{agents}_agents_join"), joined.as_secs_f64(), "s"),
        Figure::new(format!("{agents}_agents_back"), last.as_secs_f64(), "s")
            .at_most(ALL_WITHIN_SECONDS),
        Figure::new("busiest_second", count(busiest), "agents").at_most(2.0 * mean),
    ]
}

/// The most that came back within any second.
fn busiest_second(times: &[Duration]) -> usize {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let within = |from: &Duration| {
        let until = *from + Duration::from_secs(1);
        sorted.partition_point(|time| *time < until) - sorted.partition_point(|time| time < from)
    };
    sorted.iter().map(within).max().unwrap_or_default()
}
