//! Latency of the public API, seen by a client with one open connection.

use anyhow::{Context as _, Result};

use super::{Benchmark, Measurement, percentile};
use crate::dev::{api, plan::Plan};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "api",
    method: "200 sequential requests over one TLS connection, time to first byte as curl sees it",
    run,
};

const REQUESTS: usize = 200;

fn run(plan: &Plan) -> Result<Vec<Measurement>> {
    let mut results = Vec::new();
    for (name, path) in [("me", "/v1/me"), ("organizations", "/v1/organizations")] {
        let samples =
            api::latencies_ms(plan, path, REQUESTS).with_context(|| format!("asking {path}"))?;
        for percent in [50, 95, 99] {
            results.push(Measurement::new(
                format!("api_{name}_p{percent}"),
                percentile(&samples, percent),
                "ms",
            ));
        }
    }
    Ok(results)
}
