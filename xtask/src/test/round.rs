//! The rounds of a long run: what each does, how to see it again, and what it adds to the record. A round
//! costs some minutes.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::Value;

use super::{
    full::{self, FULL, count},
    platform::TestPlatforms,
    record::{Counted, Counts},
    report::{deployments, forget, length, met, read, with_deployments},
};
use crate::{cargo::cargo, command::CommandExt as _};

/// Of one round each.
const POISONED_FEEDS: u64 = 10_000;
/// An edge's 600 and those of eleven agents, to each of which each of 21 kinds comes ten times.
const POISONED_PROCESSES: u64 = 600 + 11 * 210;
const DAYS: u64 = 30;
const SEEDS: u64 = 500;

/// Of each round.
const KILLS: u64 = 60;

/// Thousandths.
const WHOLE: u64 = 1_000;

/// A part of a long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Round {
    /// All poisoned feeds at once, of another seed each time.
    Poison,
    /// A quarter of the poisoned feeds of real processes, of another seed each time.
    PoisonedProcesses,
    /// All simulated days at once.
    Days,
    /// The next seeds.
    Seeds,
    /// The whole outage at once: its length is what is promised.
    Outage,
    /// A tenth of the changes under load.
    Changes,
    /// A tenth of the kills, with as much work as a full run has.
    Kills,
    /// All named points.
    Points,
    /// All programs, one kill after another.
    Ready,
    /// All faults of networks.
    Faults,
    /// All bad disks and clocks.
    Machines,
}

impl Round {
    const ALL: [Self; 11] = [
        Self::Poison,
        Self::Days,
        Self::Seeds,
        Self::PoisonedProcesses,
        Self::Points,
        Self::Kills,
        Self::Changes,
        Self::Outage,
        Self::Ready,
        Self::Faults,
        Self::Machines,
    ];

    /// The one that is furthest behind, of those that may run, so that a run of an hour has something of everything.
    pub fn next(passed: &Counts, may_run: impl Fn(Self) -> bool) -> Option<Self> {
        let rounds = Self::ALL.into_iter();
        let behind = rounds.filter(|round| round.done(passed) < WHOLE && may_run(*round));
        behind.min_by_key(|round| round.done(passed))
    }

    /// In thousandths of its full counts, by what lacks most.
    fn done(self, passed: &Counts) -> u64 {
        let of_this = FULL.iter().filter(|(what, _)| self.adds().contains(what));
        let done = of_this.map(|(what, full)| {
            let wanted = full::wanted(passed, *what, *full);
            count(passed, *what).min(wanted) * WHOLE / wanted
        });
        done.min().unwrap_or(WHOLE)
    }

    const fn adds(self) -> &'static [Counted] {
        match self {
            Self::Poison => &[Counted::PoisonedFeeds],
            Self::PoisonedProcesses => &[Counted::PoisonedProcesses],
            Self::Days => &[Counted::SimulatedDays],
            Self::Seeds => &[Counted::Seeds],
            Self::Outage => &[Counted::OutageSeconds, Counted::OutageRequests],
            Self::Changes => &[Counted::Requests, Counted::Redeploys, Counted::Rollbacks],
            Self::Kills => &[
                Counted::Kills,
                Counted::FaultedDeployments,
                Counted::KillsWhileReleasing,
                Counted::KillsWhileRollbackPlaces,
                Counted::KillsWhileRollbackStarts,
                Counted::KillsWhileRollbackVerifies,
                Counted::KillsWhileRollbackShifts,
                Counted::KillsWhileRollbackDrains,
                Counted::KillsWhileScaling,
            ],
            Self::Points => &[Counted::NamedPoints],
            Self::Ready => &[Counted::ReadyAgain],
            Self::Faults => &[Counted::NetworkFaults],
            Self::Machines => &[Counted::MachineRounds],
        }
    }

    /// Whether it leaves nothing to chance: what has failed fails again.
    pub const fn is_simulated(self) -> bool {
        matches!(self, Self::Poison | Self::Days | Self::Seeds)
    }

    /// Whether it runs against a whole platform.
    pub const fn needs_platform(self) -> bool {
        !self.is_simulated() && !matches!(self, Self::PoisonedProcesses)
    }

    /// The test that does it.
    const fn test(self) -> &'static str {
        match self {
            Self::Poison => "package(sim) and test(poison::)",
            Self::PoisonedProcesses => {
                "(package(edge-proxy) or package(agent)) and kind(test) and test(poison::)"
            }
            Self::Days => "package(sim) and test(no_request_fails_while_everything_central)",
            Self::Seeds => "package(sim) and test(every_seed)",
            Self::Outage => "package(e2e) and test(each_region_serves_and_comes_back)",
            Self::Changes => "package(e2e) and test(redeploys_and_rollbacks)",
            Self::Kills => "package(chaos) and test(whatever_is_killed)",
            Self::Points => "package(chaos) and test(at_every_named_point)",
            Self::Ready => "package(chaos) and test(are_ready_again_soon)",
            Self::Faults => "package(chaos) and test(users_are_served_during_each_fault)",
            Self::Machines => "package(chaos) and test(users_are_served_by_bad_disks)",
        }
    }

    /// What the test is told: variables of its environment.
    fn variables(self, passed: &Counts) -> Vec<(&'static str, String)> {
        match self {
            Self::Poison => poison(count(passed, Counted::PoisonedFeeds) / POISONED_FEEDS),
            Self::PoisonedProcesses => {
                poison(count(passed, Counted::PoisonedProcesses) / POISONED_PROCESSES)
            }
            Self::Days => vec![("SIM_DAYS", DAYS.to_string())],
            Self::Seeds => vec![
                ("SIM_FIRST_SEED", count(passed, Counted::Seeds).to_string()),
                ("SIM_SEEDS", SEEDS.to_string()),
            ],
            Self::Outage | Self::Points | Self::Ready | Self::Faults | Self::Machines => {
                vec![full()]
            }
            Self::Kills => vec![full(), ("RAILHEAD_CHAOS_KILLS", KILLS.to_string())],
            Self::Changes => vec![],
        }
    }

    /// Where the test writes what it has done.
    const fn report(self) -> Option<&'static str> {
        match self {
            Self::Poison | Self::PoisonedProcesses | Self::Days | Self::Seeds => None,
            Self::Outage => Some("load/outage.json"),
            Self::Changes => Some("load/changes.json"),
            Self::Kills => Some("chaos/kills.json"),
            Self::Points => Some("chaos/points.json"),
            Self::Ready => Some("chaos/ready.json"),
            Self::Faults => Some("chaos/faults.json"),
            Self::Machines => Some("chaos/machines.json"),
        }
    }

    /// How to see it again.
    pub fn replay(self, passed: &Counts) -> String {
        let mut words: Vec<String> = self.variables(passed).into_iter().map(assignment).collect();
        if let Some(seed) = self.seed() {
            words.push(assignment(("RAILHEAD_CHAOS_SEED", seed)));
        }
        words.push(self.test().to_owned());
        words.join(" ")
    }

    /// Which choices the test has made. It says so before it does anything.
    fn seed(self) -> Option<String> {
        let report = read(self.report()?).ok()?;
        report["seed"].as_str().map(str::to_owned)
    }

    /// Does it; what it adds.
    pub fn run(self, passed: &Counts, platform: Option<&TestPlatforms>) -> Result<Counts> {
        if let Some(report) = self.report() {
            forget(report)?;
        }
        let mut test = cargo([
            "nextest",
            "run",
            "--workspace",
            "--profile",
            "long",
            "-E",
            self.test(),
        ])?;
        for name in CHOICES {
            test.env_remove(name);
        }
        test.envs(self.variables(passed));
        if let Some(platform) = platform {
            platform.tell(&mut test)?;
        }
        test.run()?;
        let report = self.report().map(read).transpose()?;
        self.counts(&report.unwrap_or_default())
            .with_context(|| format!("counting in the report of {}", self.test()))
    }

    fn counts(self, report: &Value) -> Option<Counts> {
        let number = |name: &str| report[name].as_u64();
        Some(match self {
            Self::Poison => Counts::from([(Counted::PoisonedFeeds, POISONED_FEEDS)]),
            Self::PoisonedProcesses => {
                Counts::from([(Counted::PoisonedProcesses, POISONED_PROCESSES)])
            }
            Self::Days => Counts::from([(Counted::SimulatedDays, DAYS)]),
            Self::Seeds => Counts::from([(Counted::Seeds, SEEDS)]),
            Self::Outage => Counts::from([
                (Counted::OutageSeconds, number("seconds")?),
                (Counted::OutageRequests, number("requests")?),
            ]),
            Self::Changes => Counts::from([
                (Counted::Requests, number("requests")?),
                (Counted::Redeploys, deployments(report, "redeploy")?),
                (Counted::Rollbacks, deployments(report, "rollback")?),
            ]),
            Self::Kills => {
                let kinds = report["kills"].as_object()?;
                let kills = kinds.values().filter_map(Value::as_u64).sum();
                let mut counts = with_deployments(report, Counted::Kills, kills)?;
                counts.extend(met(report));
                counts
            }
            Self::Points => with_deployments(report, Counted::NamedPoints, number("points")?)?,
            Self::Ready => {
                let times = report.as_object()?.values();
                let times = times.map(|of_one| of_one.as_array().map_or(0, Vec::len));
                let all = u64::try_from(times.sum::<usize>()).ok()?;
                Counts::from([(Counted::ReadyAgain, (all > 0).then_some(all)?)])
            }
            Self::Faults => Counts::from([(Counted::NetworkFaults, length(report, "faults")?)]),
            Self::Machines => Counts::from([(Counted::MachineRounds, length(report, "rounds")?)]),
        })
    }
}

/// What somebody may have set for a run of their own.
const CHOICES: [&str; 8] = [
    "RAILHEAD_CHAOS",
    "RAILHEAD_CHAOS_KILLS",
    "RAILHEAD_CHAOS_SEED",
    "RAILHEAD_POISON",
    "RAILHEAD_POISON_SEED",
    "SIM_DAYS",
    "SIM_FIRST_SEED",
    "SIM_SEEDS",
];

/// Builds the tests, so that no round's time is a compiler's.
pub fn build() -> Result<()> {
    cargo(["nextest", "run", "--workspace", "--no-run"])?.run()
}

/// Of another seed after each round.
fn poison(rounds: u64) -> Vec<(&'static str, String)> {
    vec![
        ("RAILHEAD_POISON", "full".to_owned()),
        ("RAILHEAD_POISON_SEED", (rounds + 1).to_string()),
    ]
}

fn full() -> (&'static str, String) {
    ("RAILHEAD_CHAOS", "full".to_owned())
}

fn assignment((name, value): (&str, String)) -> String {
    format!("{name}={value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_its_turn_and_rounds_go_on_until_nothing_lacks() {
        let mut passed = Counts::new();
        let mut rounds = Vec::new();
        while let Some(round) = Round::next(&passed, |_| true) {
            rounds.push(round);
            let done = round.counts(&example(round)).unwrap();
            for (what, more) in done {
                *passed.entry(what).or_default() += more;
            }
        }
        assert_eq!(rounds[..Round::ALL.len()], Round::ALL);
        assert!(
            FULL.iter()
                .all(|(what, full)| count(&passed, *what) >= *full)
        );
    }

    fn example(round: Round) -> Value {
        let change = |reason| json!({ "reason": reason });
        match round {
            Round::Outage => json!({ "seconds": 600, "requests": 120_000 }),
            Round::Changes => json!({
                "requests": 21_000,
                "deployments": [change("redeploy"), change("rollback"), change("redeploy")],
            }),
            Round::Kills => json!({
                "kills": { "agent": 40, "edge": 20 },
                "kills_during": { "releasing": 1 },
                "kills_during_rollbacks": {
                    "placing": 1, "starting": 9, "verifying": 3, "shifting": 2, "draining": 30,
                },
                "kills_during_a": { "scale": 4 },
                "deployments_ended": 104,
                "deployments_failed_by_the_platform": 0,
            }),
            Round::Points => json!({
                "points": 22,
                "deployments_ended": 9,
                "deployments_failed_by_the_platform": 0,
            }),
            Round::Ready => json!({ "agent": [0.9, 1.1], "edge": vec![0.4; 10] }),
            Round::Faults => json!({ "faults": vec![json!({}); 18] }),
            Round::Machines => json!({ "rounds": vec![json!({}); 20] }),
            _ => Value::Null,
        }
    }

    #[test]
    fn a_report_without_numbers_counts_nothing() {
        let rounds = Round::ALL
            .into_iter()
            .filter(|round| round.needs_platform());
        for round in rounds {
            assert_eq!(round.counts(&json!({})), None, "{round:?}");
            let died = json!({ "seed": "7" });
            assert_eq!(round.counts(&died), None, "{round:?}");
        }
    }

    #[test]
    fn seeds_go_on_after_those_that_have_passed() {
        let passed = Counts::from([(Counted::Seeds, 1_500)]);
        let replay = Round::Seeds.replay(&passed);
        assert!(replay.starts_with("SIM_FIRST_SEED=1500 "), "{replay}");
    }
}
