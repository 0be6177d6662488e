//! `./dev test`: what must hold, cheapest first, in one run whose last words are the runner's own.

use anyhow::Result;
use clap::Args;

use crate::{cargo::cargo, command::CommandExt as _, tidy};

/// What to run.
#[derive(Args, Debug)]
pub struct Options {
    /// Handed to nextest, for example `-E 'package(domain)'`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

/// Format, clippy, house rules, then every test of the workspace.
pub fn run(options: &Options) -> Result<()> {
    cargo(["fmt", "--all", "--check"])?.run()?;
    tidy::run()?;
    clippy()?;
    cargo(["nextest", "run", "--workspace"])?
        .args(&options.nextest)
        .run()
}

fn clippy() -> Result<()> {
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?
    .run()
}
