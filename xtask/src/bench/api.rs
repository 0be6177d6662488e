//! Latency of the public API, seen by a client with one open connection.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Benchmark, Measurement, percentile};
use crate::dev::{
    api::{self, Call},
    example,
    plan::Plan,
};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "api",
    method: "sequential requests over one TLS connection, time to the end of the answer as curl sees it: 200 of each that reads, \
             60 that set a variable (row, event and audit event in one transaction)",
    run,
};

const READS: usize = 200;
/// Below the default limit of 100 writes a minute.
const WRITES: usize = 60;

fn run(plan: &Plan) -> Result<Vec<Measurement>> {
    let mut results = Vec::new();
    for (name, path) in [("me", "/v1/me"), ("organizations", "/v1/organizations")] {
        let call = Call {
            method: "GET",
            path,
            body: None,
        };
        results.extend(measure(plan, name, &call, READS)?);
    }
    let path = format!(
        "/v1/services/{}/variables/BENCHMARK",
        example::service_id(plan)?
    );
    let call = Call {
        method: "PUT",
        path: &path,
        body: Some(&json!({ "value": "measured" })),
    };
    let written = measure(plan, "variable_put", &call, WRITES);
    api::delete(plan, &path)?;
    results.extend(written?);
    Ok(results)
}

fn measure(plan: &Plan, name: &str, call: &Call<'_>, count: usize) -> Result<Vec<Measurement>> {
    let samples = api::latencies_ms(plan, call, count)
        .with_context(|| format!("measuring {} {}", call.method, call.path))?;
    let figure = |percent| {
        let value = percentile(&samples, percent);
        Measurement::new(format!("api_{name}_p{percent}"), value, "ms")
    };
    Ok([50, 95, 99].map(figure).into())
}
