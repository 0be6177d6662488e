//! How much is killed and how much work goes on meanwhile. `./dev test` has its tenth in a minute beside other
//! tests; a full run has the machine for itself, time for many deployments, and must meet every step of one.

use std::{env, ops::Range, time::Duration};

use anyhow::{Result, ensure};
use chaos::{history::History, judge::Demands, kill, scale::Scale, world::World};
use domain::deployment::machine::Step;
use e2e::platform::Platform;
use serde_json::{Value, json};

use crate::support::small;

const KILLS: usize = 600;
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// Those that last long enough that sixty kills meet one.
const LONG_STEPS: &[Step] = &[
    Step::Building,
    Step::Releasing,
    Step::Starting,
    Step::Draining,
];
const REASONS: &[&str] = &["deploy", "redeploy", "rollback", "scale"];
const STEPS: &[Step] = &[
    Step::Building,
    Step::Releasing,
    Step::Placing,
    Step::Starting,
    Step::Verifying,
    Step::Shifting,
    Step::Draining,
];

pub struct Extent {
    pub kills: usize,
    pub pauses: Range<Duration>,
    /// Services that are redeployed again and again, beside the others.
    pub redeployed: usize,
    /// Of each instance: a node has one, and a quarter of it is taken.
    cpu: f64,
    /// Steps, and reasons for deployments, that kills must meet.
    steps: &'static [Step],
    reasons: &'static [&'static str],
}

impl Extent {
    /// Of a full run's kills, `RAILHEAD_CHAOS_KILLS` makes fewer: a long run has them in rounds.
    pub fn of_this_run() -> Self {
        let scale = Scale::of_this_run();
        let chosen = env::var("RAILHEAD_CHAOS_KILLS").ok();
        let chosen = chosen.and_then(|number| number.parse().ok());
        let kills = chosen.unwrap_or_else(|| scale.of(KILLS));
        match scale {
            Scale::Tenth => Self {
                kills,
                pauses: SHORTEST_PAUSE..Duration::from_secs(1),
                redeployed: 0,
                cpu: 0.1,
                steps: LONG_STEPS,
                reasons: &[],
            },
            Scale::Full => Self {
                kills,
                pauses: SHORTEST_PAUSE..Duration::from_secs(4),
                redeployed: 8,
                cpu: 0.038,
                steps: STEPS,
                reasons: REASONS,
            },
        }
    }

    pub fn demands(&self) -> Demands {
        Demands {
            requests: self.kills * 10,
            deployments: self.kills / 20 * (1 + self.redeployed),
            live: self.kills / 30 * (1 + self.redeployed),
            kills: self.kills,
            phases: self.steps,
        }
    }

    /// Whether kills have met deployments for each reason.
    pub fn ensure_met(&self, history: &History, world: &World) -> Result<()> {
        let met = kill::reasons(history, &world.deployments);
        for reason in self.reasons {
            let kills = met.get(reason).copied().unwrap_or_default();
            ensure!(kills > 0, "an invalid run: no kill met a {reason}");
        }
        Ok(())
    }

    /// The example, as small as it has to be.
    pub fn spec(&self, platform: &Platform) -> Value {
        let mut spec = small(platform);
        spec["scale"]["resources"]["cpu"] = json!(self.cpu);
        spec
    }
}
