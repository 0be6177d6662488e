//! How long a change takes from the request to serving, and to the end of what it replaces: redeploy with
//! the image present, rollback, and the part of it in which every edge takes the new routes.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Benchmark, Measurement, Run, percentile};
use crate::dev::{api, example, plan::Plan};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "deploy",
    method: "example application, one replica in each of two regions, image present on both nodes, no load; \
             from POST to the step that says so, by the control plane's own timestamps, five times each",
    run: Run::Platform(run),
};

const ROUNDS: usize = 5;
const LIVE_WITHIN: Duration = Duration::from_secs(180);
/// To serving in both regions, the image present.
const REDEPLOY_BAR_SECONDS: f64 = 8.0;
/// What a rollback may take: p95.
const ROLLBACK_BAR_SECONDS: f64 = 8.0;

fn run(plan: &Plan) -> Result<Vec<Measurement>> {
    let service = example::service_id(plan)?;
    let release = current_release(plan, &service)?;
    let redeploys = sample(plan, &service, &json!({ "from": "current" }))?;
    let rollbacks = sample(
        plan,
        &service,
        &json!({ "from": "release", "release_id": release }),
    )?;
    Ok(vec![
        Measurement::new("redeploy_to_serving_p50", redeploys.serving(50)?, "s")
            .at_most(REDEPLOY_BAR_SECONDS),
        Measurement::new("redeploy_to_serving_p95", redeploys.serving(95)?, "s"),
        Measurement::new("redeploy_to_live_p50", redeploys.until("live", 50)?, "s"),
        Measurement::new("redeploy_to_live_p95", redeploys.until("live", 95)?, "s"),
        Measurement::new("rollback_to_serving_p50", rollbacks.serving(50)?, "s"),
        Measurement::new("rollback_to_serving_p95", rollbacks.serving(95)?, "s")
            .at_most(ROLLBACK_BAR_SECONDS),
        Measurement::new(
            "route_change_to_every_edge_p50",
            redeploys.between("shifting", "draining", 50)?,
            "s",
        ),
        Measurement::new(
            "route_change_to_every_edge_p95",
            redeploys.between("shifting", "draining", 95)?,
            "s",
        ),
    ])
}

/// Finished deployments.
struct Sample(Vec<Value>);

impl Sample {
    /// Every edge has taken the routes when draining of the old version begins.
    fn serving(&self, percent: usize) -> Result<f64> {
        self.until("draining", percent)
    }

    fn until(&self, state: &str, percent: usize) -> Result<f64> {
        let seconds: Result<Vec<_>> = self
            .0
            .iter()
            .map(|deployment| Ok(at(deployment, state)? - seconds(&deployment["created_at"])?))
            .collect();
        Ok(percentile(&seconds?, percent))
    }

    fn between(&self, from: &str, to: &str, percent: usize) -> Result<f64> {
        let seconds: Result<Vec<_>> = self
            .0
            .iter()
            .map(|deployment| Ok(at(deployment, to)? - at(deployment, from)?))
            .collect();
        Ok(percentile(&seconds?, percent))
    }
}

fn sample(plan: &Plan, service: &str, source: &Value) -> Result<Sample> {
    let mut deployments = Vec::new();
    for _ in 0..ROUNDS {
        let path = format!("/v1/services/{service}/deployments");
        let begun = api::post(plan, &path, &json!({ "source": source }))?;
        deployments.push(ended(plan, api::text(&begun, "id")?)?);
    }
    Ok(Sample(deployments))
}

fn ended(plan: &Plan, deployment: &str) -> Result<Value> {
    let deadline = Instant::now() + LIVE_WITHIN;
    loop {
        let now = api::get(plan, &format!("/v1/deployments/{deployment}"))?;
        match api::text(&now, "state")? {
            "live" => return Ok(now),
            "failed" | "canceled" | "superseded" => {
                bail!("deployment {deployment}: {}", now["error"])
            }
            state if Instant::now() > deadline => bail!("deployment {deployment} is still {state}"),
            _ => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn current_release(plan: &Plan, service: &str) -> Result<String> {
    let service = api::get(plan, &format!("/v1/services/{service}"))?;
    let deployment = api::get(
        plan,
        &format!(
            "/v1/deployments/{}",
            api::text(&service, "current_deployment_id")?
        ),
    )?;
    Ok(api::text(&deployment, "release_id")?.to_owned())
}

fn at(deployment: &Value, state: &str) -> Result<f64> {
    let steps = deployment["steps"]
        .as_array()
        .context("a deployment without steps")?;
    let step = steps
        .iter()
        .find(|step| step["state"] == state)
        .with_context(|| format!("a deployment that was never {state}"))?;
    seconds(&step["at"])
}

/// An RFC 3339 time as seconds since 1970.
fn seconds(time: &Value) -> Result<f64> {
    let text = time
        .as_str()
        .with_context(|| format!("{time} is no time"))?;
    let time =
        chrono::DateTime::parse_from_rfc3339(text).with_context(|| format!("{text} is no time"))?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of this century fit"
    )]
    Ok(time.timestamp_micros() as f64 / 1e6)
}
