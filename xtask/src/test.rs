//! `./dev test`: what must hold, cheapest first, in one run whose last words are the runner's own.

mod database;
mod platform;

use anyhow::Result;
use clap::Args;

use self::{database::TestCluster, platform::TestPlatform};
use crate::{cargo::cargo, command::CommandExt as _, tidy};

/// What to run.
#[derive(Args, Debug)]
pub struct Options {
    /// Leave out the whole-system tests and the platform that they need.
    #[arg(long)]
    no_system: bool,
    /// Handed to nextest, for example `-E 'package(domain)'`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

/// Format, house rules, clippy, then every test of the workspace.
pub fn run(options: &Options) -> Result<()> {
    cargo(["fmt", "--all", "--check"])?.run()?;
    tidy::run()?;
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
    let cluster = TestCluster::start()?;
    if options.no_system {
        return nextest(&cluster, None, options);
    }
    let platform = TestPlatform::start()?;
    let outcome = nextest(&cluster, Some(&platform), options);
    platform.end()?;
    outcome
}

/// Everything in one run, so that its summary is the whole truth.
fn nextest(
    cluster: &TestCluster,
    platform: Option<&TestPlatform>,
    options: &Options,
) -> Result<()> {
    let mut run = cargo(["nextest", "run", "--workspace"])?;
    run.env("RAILHEAD_TEST_DATABASE_URL", cluster.url());
    match platform {
        Some(platform) => run.env("RAILHEAD_DEV_DIR", platform.dir()),
        None => run.args([
            "-E",
            "not ((package(e2e) or package(chaos)) and kind(test))",
        ]),
    };
    run.args(&options.nextest).run()
}
