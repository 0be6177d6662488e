//! The operator's commands: `control-plane admin …`, run on a machine with the configuration file.

use clap::Subcommand;

use crate::Config;

/// The operator's commands.
#[derive(Debug, Subcommand)]
pub enum Command {}

/// Runs one command.
///
/// # Errors
/// What was tried and what to do.
pub async fn run(_config: Config, command: Command) -> anyhow::Result<()> {
    match command {}
}
