//! What `tests/load` measures: optimised programs over a PostgreSQL that waits for its disk, with simulated
//! nodes; no platform is needed for it.

use anyhow::{Context as _, Result};

use super::{Benchmark, Measurement, Run, program};
use crate::{
    cargo::{cargo, target_dir},
    command::{CommandExt as _, command},
    test::database::{Durability, TestCluster},
};

pub const API: Benchmark = Benchmark {
    name: "api",
    method: "tests/load, one control plane, release build; the platform with its PostgreSQL has the first half of the \
             processors, the load generator the other: 200 requests a second for 20 s each, arrivals that do not \
             wait for answers, times from the intended begin; reads are /v1/me, a service, its deployments, its \
             variables, writes set a variable (row, event and audit event in one transaction); capacity is what 32 \
             workers get answered (a fifth of it writes), overload two and five times as many for 15 s each, useful \
             within 1 s",
    run: Run::Alone(|_| api()),
};

pub const HISTORY: Benchmark = Benchmark {
    name: "history",
    method: "tests/load, one control plane, release build: 12,000,000 deployments of 1,000 services over a year \
             (builds, releases, steps, events and audit events of the newest tenth), then 4 deployments a second of 240 \
             other services on 100 simulated agents and 2 simulated edges, and 5 lists a second",
    run: Run::Alone(|options| {
        let minutes = options.minutes.to_string();
        measure(&["history", "--minutes", &minutes])
    }),
};

pub const RECONNECT: Benchmark = Benchmark {
    name: "reconnect",
    method: "tests/load, release build: 1,000 simulated agents in one process, each with its own identity, disk and \
             connection; the control plane is killed and started again 2 s later; times from that start",
    run: Run::Alone(|_| measure(&["reconnect"])),
};

pub const ROUTES: Benchmark = Benchmark {
    name: "routes",
    method: "tests/load, release build: 1,000 and 100,000 services with one host name and one endpoint each, two edges, \
             one control plane; 100 changes of an instance's readiness, from the agent's knowledge of it until both \
             edges' tables have it (looked at every 5 ms); 5 starts after kill -9, until a routed name is answered",
    run: Run::Alone(|_| measure(&["routes"])),
};

/// On halves of the machine: what is started here stays in the first, the load generator moves to the other.
fn api() -> Result<Vec<Measurement>> {
    let all = std::thread::available_parallelism()?.get();
    if all < 2 {
        return measure(&["api"]);
    }
    move_to(&format!("0-{}", all / 2 - 1))?;
    let measured = measure(&["api", "--processors", &format!("{}-{}", all / 2, all - 1)]);
    move_to(&format!("0-{}", all - 1))?;
    measured
}

/// This program, with what it starts from now on.
fn move_to(processors: &str) -> Result<()> {
    let own = std::process::id().to_string();
    command([
        "taskset",
        "--all-tasks",
        "--cpu-list",
        "--pid",
        processors,
        &own,
    ])
    .read()
    .map(drop)
}

fn measure(arguments: &[&str]) -> Result<Vec<Measurement>> {
    let packages = ["load", "control-plane", "edge-proxy"];
    let mut build = cargo(["build", "--quiet", "--release"])?;
    build.args(packages.iter().flat_map(|package| ["--package", package]));
    build.run().context("building optimised programs")?;
    let cluster = TestCluster::start(Durability::Full)?;
    let output = command(["prlimit", &format!("--nofile={}", open_files()?)])
        .arg(target_dir()?.join("release/load"))
        .args(arguments)
        .env("RAILHEAD_TEST_DATABASE_URL", cluster.url())
        .read()?;
    program::read(&output)
}

/// As many as this process may have: a thousand nodes in one process have some thousand connections and files.
fn open_files() -> Result<String> {
    let most = command(["prlimit", "--nofile", "--noheadings", "--output", "HARD"]).read()?;
    Ok(most.trim().to_owned())
}
