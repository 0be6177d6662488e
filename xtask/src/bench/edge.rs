//! What a request costs in the edge before it goes anywhere; no platform is needed for it.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Benchmark, Measurement};
use crate::{cargo::cargo, command::CommandExt as _, dev::plan::Plan};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "edge",
    method: "edge-proxy/benches/decide.rs in the bench profile, one thread: the best mean of 7 rounds of 20,000 \
             calls over 100,000 host names; compiling that table is one call a round",
    run,
};

#[derive(Deserialize)]
struct Measured {
    name: String,
    value: f64,
    unit: String,
}

fn run(_plan: &Plan) -> Result<Vec<Measurement>> {
    let output = cargo([
        "bench",
        "--quiet",
        "--package",
        "edge-proxy",
        "--bench",
        "decide",
    ])?
    .read()?;
    let json = output
        .lines()
        .rfind(|line| line.starts_with('['))
        .context("the benchmark printed no results")?;
    let measured: Vec<Measured> =
        serde_json::from_str(json).context("reading the benchmark's results")?;
    measured.into_iter().map(measurement).collect()
}

fn measurement(measured: Measured) -> Result<Measurement> {
    let unit = match measured.unit.as_str() {
        "ns" => "ns",
        "ms" => "ms",
        other => anyhow::bail!("the benchmark measures in \"{other}\", which is not known"),
    };
    Ok(Measurement::new(measured.name, measured.value, unit))
}
