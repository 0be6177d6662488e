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
/// What is promised is promised of so many.
const AGENTS: usize = 1_000;

/// What was seen of the agents.
struct Seen {
    /// How long all of them took to join.
    joined: Duration,
    /// How many followed their feeds before the control plane was killed.
    followed: usize,
    /// How many noticed that it was.
    cut_off: usize,
    /// From the start of the control plane until each one followed its feed again; none if that took too long.
    back: Vec<Option<Duration>>,
}

/// Kills the control plane under them, and starts it again.
pub async fn run(agents: usize) -> Result<Vec<Figure>> {
    let mut installation = Installation::new("").await?;
    let begun = Instant::now();
    let agents = agents::join(&installation, agents).await?;
    let joined = begun.elapsed();
    let followed = how_many(&agents, true).await;
    installation.kill()?;
    let cut_off = how_many(&agents, false).await;
    tokio::time::sleep(AWAY).await;
    let starting = Instant::now();
    let back = join_all(agents.iter().map(|agent| async move {
        let is_back = following(agent, true).await;
        is_back.then(|| starting.elapsed())
    }));
    let (started, back) = tokio::join!(installation.start(), back);
    started?;
    let seen = Seen {
        joined,
        followed,
        cut_off,
        back,
    };
    Ok(figures(&seen))
}

async fn how_many(agents: &[FakeAgent], wanted: bool) -> usize {
    let reached = join_all(agents.iter().map(|agent| following(agent, wanted))).await;
    reached.into_iter().filter(|reached| *reached).count()
}

/// Whether the agent's feed comes to be followed, or not to be.
async fn following(agent: &FakeAgent, wanted: bool) -> bool {
    let mut status = agent.feed_status();
    let reached = status.wait_for(|status| status.connected == wanted);
    let reached = tokio::time::timeout(SETTLED, reached).await;
    reached.is_ok_and(|reached| reached.is_ok())
}

fn figures(seen: &Seen) -> Vec<Figure> {
    let agents = seen.back.len();
    let back: Vec<Duration> = seen.back.iter().copied().flatten().collect();
    let last = back.iter().max().copied().unwrap_or_default();
    let mean = count(agents) / MEAN_OVER_SECONDS;
    let needed = count(agents.max(AGENTS));
    vec![
        Figure::new(
            format!("{agents}_agents_join"),
            seen.joined.as_secs_f64(),
            "s",
        ),
        Figure::new("followed_before", count(seen.followed), "agents").needed(needed),
        Figure::new("cut_off", count(seen.cut_off), "agents").needed(needed),
        Figure::new("not_back", count(agents - back.len()), "agents").at_most(0.0),
        Figure::new(format!("{agents}_agents_back"), last.as_secs_f64(), "s")
            .at_most(ALL_WITHIN_SECONDS),
        Figure::new("busiest_second", count(busiest_second(&back)), "agents").at_most(2.0 * mean),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Verdict, judge};

    /// A thousand, one after the other within 25 s.
    fn sound() -> Seen {
        let back = (0..1_000).map(|n| Some(Duration::from_millis(25 * n)));
        Seen {
            joined: Duration::from_secs(40),
            followed: 1_000,
            cut_off: 1_000,
            back: back.collect(),
        }
    }

    fn judged(seen: &Seen) -> Verdict {
        judge(&figures(seen))
    }

    fn assert_fails_by(seen: &Seen, figure: &str) {
        let verdict = judged(seen);
        let Verdict::Fail(wrong) = &verdict else {
            panic!("{verdict}");
        };
        assert!(wrong.iter().all(|why| why.starts_with(figure)), "{verdict}");
    }

    #[test]
    fn agents_that_come_back_in_turns_pass() {
        assert_eq!(judged(&sound()), Verdict::Pass);
    }

    #[test]
    fn one_that_comes_back_too_late_fails_it() {
        let mut seen = sound();
        seen.back[999] = Some(Duration::from_secs(61));
        assert_fails_by(&seen, "1000_agents_back");
    }

    #[test]
    fn one_that_does_not_come_back_fails_it() {
        let mut seen = sound();
        seen.back[999] = None;
        assert_fails_by(&seen, "not_back");
    }

    #[test]
    fn too_many_within_a_second_fail_it() {
        let mut seen = sound();
        // Across the border of two whole seconds.
        for (n, back) in seen.back.iter_mut().take(67).enumerate() {
            *back = Some(Duration::from_millis(30_600 + 10 * n as u64));
        }
        assert_fails_by(&seen, "busiest_second");
    }

    #[test]
    fn fewer_agents_prove_nothing() {
        let mut seen = sound();
        seen.back.truncate(900);
        (seen.followed, seen.cut_off) = (900, 900);
        assert!(matches!(judged(&seen), Verdict::Invalid(_)));
    }

    #[test]
    fn agents_that_noticed_nothing_prove_nothing() {
        let mut seen = sound();
        seen.cut_off = 999;
        assert!(matches!(judged(&seen), Verdict::Invalid(why) if why.len() == 1));
        let mut seen = sound();
        seen.followed = 999;
        assert!(matches!(judged(&seen), Verdict::Invalid(why) if why.len() == 1));
    }
}
