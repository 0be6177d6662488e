//! How long `./dev up` takes on a platform that is up already.

use std::{env, time::Instant};

use anyhow::Result;

use super::{Benchmark, Measurement, Run, percentile};
use crate::{
    command::{CommandExt as _, command},
    dev::plan::Plan,
};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "up",
    method: "`xtask dev up` on a running platform, three times, wall time",
    run: Run::Platform(run),
};

fn run(plan: &Plan) -> Result<Vec<Measurement>> {
    let mut samples = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        command([env::current_exe()?])
            .args(["dev", "up"])
            .env("RAILHEAD_DEV_DIR", &plan.dir)
            .read()?;
        samples.push(begun.elapsed().as_secs_f64());
    }
    Ok(vec![Measurement::new(
        "dev_up_warm_p50",
        percentile(&samples, 50),
        "s",
    )])
}
