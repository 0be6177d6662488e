//! `./dev bench [NAME]`: measures a running platform, or optimised programs by themselves, and writes
//! `target/bench/NAME.json`: the results, and beside them the machine and the method, so that two files can
//! be compared honestly.

mod deploy;
mod edge;
mod load;
mod machine;
mod memory;
mod program;
mod scheduler;
mod up;

use std::{fmt, fs};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use self::machine::Machine;
use crate::{
    cargo::workspace,
    dev::{self, plan::Plan},
    output::say,
};

/// What to measure.
#[derive(Args, Debug)]
pub struct Options {
    /// One of: up, deploy, memory, edge, scheduler, api, reconnect, routes, history. All when absent.
    name: Option<String>,
    /// How long `history` goes on after it has seeded its year.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Measurement {
    name: String,
    value: f64,
    unit: String,
    /// The most it may be; absent while nothing is promised.
    at_most: Option<f64>,
    /// The least it may be.
    at_least: Option<f64>,
    /// With less the run proves nothing.
    needed: Option<f64>,
    pass: Option<bool>,
}

/// What became of a benchmark.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Each bar is met.
    Pass,
    /// These figures miss their bar.
    Fail(Vec<String>),
    /// No bar is missed, but of these there was too little to prove anything.
    Invalid(Vec<String>),
}

struct Benchmark {
    name: &'static str,
    method: &'static str,
    run: Run,
}

/// What a benchmark runs on.
enum Run {
    /// The platform that `./dev up` starts.
    Platform(fn(&Plan) -> Result<Vec<Measurement>>),
    /// Programs that it builds and starts itself.
    Alone(fn(&Options) -> Result<Vec<Measurement>>),
}

const BENCHMARKS: [Benchmark; 9] = [
    up::BENCHMARK,
    deploy::BENCHMARK,
    memory::BENCHMARK,
    edge::BENCHMARK,
    scheduler::BENCHMARK,
    load::API,
    load::RECONNECT,
    load::ROUTES,
    load::HISTORY,
];

#[derive(Serialize)]
struct Report<'a> {
    benchmark: &'static str,
    method: &'static str,
    machine: Machine,
    verdict: &'a Verdict,
    results: Vec<Measurement>,
}

/// Runs one benchmark or all; fails when a bar is not met, or when that can't be said.
pub fn run(options: &Options) -> Result<()> {
    let wanted = |benchmark: &&Benchmark| {
        options
            .name
            .as_deref()
            .is_none_or(|name| name == benchmark.name)
    };
    let chosen: Vec<_> = BENCHMARKS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let known = BENCHMARKS.map(|benchmark| benchmark.name).join(", ");
        bail!("no such benchmark; there are: {known}");
    }
    let mut bad = Vec::new();
    for benchmark in chosen {
        let results =
            measure(benchmark, options).with_context(|| format!("measuring {}", benchmark.name))?;
        let verdict = judge(&results);
        print(benchmark, &results, &verdict);
        write(benchmark, results, &verdict)?;
        if verdict != Verdict::Pass {
            bad.push(format!("{}: {verdict}", benchmark.name));
        }
    }
    if !bad.is_empty() {
        bail!("{}", bad.join("; "));
    }
    Ok(())
}

/// By the figures alone. A bar that is missed is missed also in a run that did too little.
fn judge(results: &[Measurement]) -> Verdict {
    let names = |of: fn(&Measurement) -> bool| -> Vec<String> {
        let those = results.iter().filter(|result| of(result));
        those.map(|result| result.name.clone()).collect()
    };
    let missed = names(|result| result.pass == Some(false));
    let lacking = names(Measurement::is_too_little);
    match (missed.is_empty(), lacking.is_empty()) {
        (false, _) => Verdict::Fail(missed),
        (true, false) => Verdict::Invalid(lacking),
        (true, true) => Verdict::Pass,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(missed) => write!(f, "the bar is missed by {}", missed.join(", ")),
            Self::Invalid(lacking) => {
                write!(f, "an invalid run: too little {}", lacking.join(", "))
            }
        }
    }
}

fn measure(benchmark: &Benchmark, options: &Options) -> Result<Vec<Measurement>> {
    match benchmark.run {
        Run::Platform(run) => run(&dev::ensure_up()?),
        Run::Alone(run) => run(options),
    }
}

impl Measurement {
    /// A figure that nothing is promised of.
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            value,
            unit: unit.to_owned(),
            at_most: None,
            at_least: None,
            needed: None,
            pass: None,
        }
    }

    /// Says the most it may be.
    pub fn at_most(mut self, bar: f64) -> Self {
        self.pass = Some(self.value <= bar);
        self.at_most = Some(bar);
        self
    }

    /// Says the least it may be.
    pub fn at_least(mut self, bar: f64) -> Self {
        self.pass = Some(self.value >= bar);
        self.at_least = Some(bar);
        self
    }

    /// Says the least it must be for the others to prove anything.
    pub fn needed(mut self, least: f64) -> Self {
        self.needed = Some(least);
        self
    }

    fn is_too_little(&self) -> bool {
        self.needed.is_some_and(|least| self.value < least)
    }

    fn bar(&self) -> String {
        match (self.at_most, self.at_least, self.needed) {
            (Some(bar), ..) => format!("  (at most {bar})"),
            (_, Some(bar), _) => format!("  (at least {bar})"),
            (.., Some(least)) => format!("  (needed: {least})"),
            (None, None, None) => String::new(),
        }
    }
}

/// The value that `percent` of the samples don't exceed (nearest rank).
pub fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn print(benchmark: &Benchmark, results: &[Measurement], verdict: &Verdict) {
    say!("{}: {}", benchmark.name, benchmark.method);
    for result in results {
        say!(
            "  {:<44} {:>10.2} {}{}",
            result.name,
            result.value,
            result.unit,
            result.bar()
        );
    }
    say!("  {verdict}");
}

fn write(benchmark: &Benchmark, results: Vec<Measurement>, verdict: &Verdict) -> Result<()> {
    let folder = workspace()?.join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let report = Report {
        benchmark: benchmark.name,
        method: benchmark.method,
        machine: machine::this()?,
        verdict,
        results,
    };
    let file = folder.join(format!("{}.json", benchmark.name));
    fs::write(&file, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(
            [50, 95, 100].map(|p| percentile(&samples, p)),
            [10.0, 19.0, 20.0]
        );
        assert_eq!(percentile(&[3.0], 50), 3.0);
    }

    #[test]
    fn a_bar_is_met_or_missed() {
        assert_eq!(
            Measurement::new("x", 8.0, "s").at_most(8.0).pass,
            Some(true)
        );
        assert_eq!(
            Measurement::new("x", 8.1, "s").at_most(8.0).pass,
            Some(false)
        );
        assert_eq!(
            Measurement::new("x", 8.1, "s").at_least(8.2).pass,
            Some(false)
        );
    }

    #[test]
    fn a_missed_bar_fails_a_run_and_too_little_makes_it_invalid() {
        let met = || Measurement::new("met", 1.0, "s").at_most(1.0);
        let missed = || Measurement::new("missed", 2.0, "s").at_most(1.0);
        let little = || Measurement::new("agents", 9.0, "").needed(10.0);
        let enough = || Measurement::new("agents", 10.0, "").needed(10.0);
        let name = |name: &str| vec![name.to_owned()];
        for (results, verdict) in [
            (vec![met(), enough()], Verdict::Pass),
            (vec![met(), missed()], Verdict::Fail(name("missed"))),
            (vec![met(), little()], Verdict::Invalid(name("agents"))),
            (vec![missed(), little()], Verdict::Fail(name("missed"))),
        ] {
            assert_eq!(judge(&results), verdict);
        }
    }

    #[test]
    fn the_verdict_is_in_the_report() {
        let verdicts = [Verdict::Pass, Verdict::Invalid(vec!["agents".to_owned()])];
        let written = serde_json::to_string(&verdicts).unwrap();
        assert_eq!(written, r#"["pass",{"invalid":["agents"]}]"#);
    }
}
