//! The control plane's program.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use control_plane::{Config, State, admin, store};

/// Railhead's control plane.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        default_value = "/etc/railhead/control-plane.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the public and the node API, and runs reconcilers and jobs.
    Serve,
    /// Brings the schema up to date as its owner, and makes the keys that replicas share.
    Migrate,
    /// Reads the configuration file and says what is wrong with it.
    CheckConfig,
    /// The operator's commands.
    #[command(subcommand)]
    Admin(admin::Command),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = Config::load(&arguments.config)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the asynchronous runtime")?
        .block_on(run(config, arguments.command))
}

async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    match command {
        Command::CheckConfig => Ok(()),
        Command::Migrate => Ok(store::migrate(&config.database).await?),
        Command::Serve => {
            let _state = State::connect(config).await?;
            Ok(())
        }
        Command::Admin(command) => admin::run(config, command).await,
    }
}
