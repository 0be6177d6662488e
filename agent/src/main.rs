//! `agent --config FILE`: see the library.

use std::path::PathBuf;

use agent::{config::Config, run};
use clap::Parser;

/// Makes this machine a node of Railhead: runs containers, builds images, reports.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    telemetry::init_crypto();
    let config = Config::load(&Arguments::parse().config)?;
    let _telemetry = telemetry::init(&telemetry::Config {
        service: "agent",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        log_filter: config.telemetry.log_filter.clone(),
    })?;
    run::run(config, telemetry::shutdown_signal()).await
}
