//! The control plane's program.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use control_plane::{Config, admin, http, migrate, serve};

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
    /// Prints the OpenAPI document.
    Openapi,
    /// The operator's commands.
    #[command(subcommand)]
    Admin(admin::Command),
}

fn main() -> anyhow::Result<()> {
    telemetry::init_crypto();
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::Openapi) {
        let document = http::document()?;
        return Ok(std::io::stdout().write_all(document.as_bytes())?);
    }
    let config = Config::load(&arguments.config)?;
    let _telemetry = telemetry::init(&telemetry::Config {
        service: "control-plane",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        log_filter: config.telemetry.log_filter.clone(),
    })?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the asynchronous runtime")?
        .block_on(run(config, arguments.command))
}

async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve => serve::serve(config).await,
        Command::Migrate => migrate::migrate(&config).await,
        Command::Admin(command) => admin::run(config, command).await,
        Command::CheckConfig | Command::Openapi => Ok(()),
    }
}
