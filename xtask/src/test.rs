//! `./dev test`: what must hold, cheapest first, in one run whose last words are the runner's own.

pub mod database;
mod deny;
mod full;
mod long;
mod platform;
mod record;
mod release;
mod report;
mod round;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Args;

use self::{
    database::{Durability, TestCluster},
    platform::TestPlatforms,
    round::Round,
};
use crate::{cargo::cargo, command::CommandExt as _, tidy};

/// Control planes of each platform. As many tests that must have a platform for themselves run side by side
/// (`.config/nextest.toml`).
const PLATFORMS: [u8; 2] = [2, 3];

/// What to run.
#[derive(Args, Debug)]
pub struct Options {
    /// Leave out the whole-system tests and the platform that they need.
    #[arg(long)]
    no_system: bool,
    /// Rounds of simulation, kills, changes under load, outages and other faults, added up in
    /// `docs/long-runs.json`, until the full counts are met.
    #[arg(long, conflicts_with = "no_system")]
    long: bool,
    /// Begin no round after that; another call goes on where this one ended.
    #[arg(long, requires = "long", value_name = "N")]
    minutes: Option<u64>,
    /// Rounds of these kinds alone: what needs no platform can run beside another call with what does.
    #[arg(long, requires = "long", value_name = "ROUND", value_delimiter = ',')]
    only: Vec<Round>,
    /// Handed to nextest, for example `-E 'package(domain)'`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

/// Format, house rules, dependencies, clippy, then every test of the workspace.
pub fn run(options: &Options) -> Result<()> {
    if options.long {
        let limit = options.minutes.map(|n| Duration::from_secs(60 * n));
        return long::run(limit, &options.only);
    }
    cargo(["fmt", "--all", "--check"])?.run()?;
    tidy::run()?;
    deny::run()?;
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?
    .run()?;
    cargo(["nextest", "run", "--workspace", "--no-run"])?.run()?;
    let cluster = TestCluster::start(Durability::None)?;
    if options.no_system {
        return nextest(&cluster, None, options);
    }
    let release = release::last()?;
    let platforms = TestPlatforms::start(&PLATFORMS)?;
    let system = System {
        platforms: &platforms,
        release,
    };
    let outcome = nextest(&cluster, Some(&system), options);
    platforms.end()?;
    outcome
}

/// What whole-system tests run against.
struct System<'a> {
    platforms: &'a TestPlatforms,
    /// Programs of the last release.
    release: PathBuf,
}

/// Everything in one run, so that its summary is the whole truth.
fn nextest(cluster: &TestCluster, system: Option<&System<'_>>, options: &Options) -> Result<()> {
    let mut run = cargo(["nextest", "run", "--workspace"])?;
    run.env("RAILHEAD_TEST_DATABASE_URL", cluster.url());
    match system {
        Some(System { platforms, release }) => {
            platforms.tell(&mut run)?;
            run.env("RAILHEAD_LAST_RELEASE", release);
        }
        None => {
            run.args(["--profile", "no-system"]);
        }
    }
    run.args(&options.nextest).run()
}
