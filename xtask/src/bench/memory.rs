//! Resident memory of every process of the platform.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Benchmark, Measurement, Run};
use crate::dev::{plan::Plan, state::State};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "memory",
    method: "VmRSS of each supervised process (without its children) on an idle platform; unoptimised builds of our own programs",
    run: Run::Platform(run),
};

/// In MiB, of the processes whose names have this in them. An edge's is for 1,000 routes: see `routes`.
const BARS: [(&str, f64); 2] = [("control-plane", 120.0), ("agent", 50.0)];

fn run(plan: &Plan) -> Result<Vec<Measurement>> {
    State::read(plan)?
        .processes
        .iter()
        .filter_map(|process| Some((&process.name, process.identity?)))
        .map(|(name, identity)| {
            let kib = resident_kib(identity.pid)
                .with_context(|| format!("reading the memory of {name}"))?;
            let measured = Measurement::new(format!("{name}_resident"), kib / 1024.0, "MiB");
            Ok(match BARS.iter().find(|(kind, _)| name.contains(kind)) {
                Some((_, bar)) => measured.at_most(*bar),
                None => measured,
            })
        })
        .collect()
}

fn resident_kib(pid: i32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .context("no VmRSS")
}
