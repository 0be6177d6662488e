//! What `./dev bench` runs for figures that need no container: a control plane and edges as optimised
//! processes over a PostgreSQL that is named in `RAILHEAD_TEST_DATABASE_URL`, simulated nodes that speak the
//! real protocol, and load that does not wait for answers. Prints JSON as its last line.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod agents;
mod api;
mod client;
mod figure;
mod history;
mod installation;
mod open_loop;
mod process;
mod reconnect;
mod routes;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// The public API at a steady rate, and beyond its capacity.
    Api {
        /// Where the load is made, as `taskset` has it; the platform stays where this program began.
        #[arg(long)]
        processors: Option<String>,
    },
    /// Deployments at a steady rate on top of a year's rows.
    History {
        #[arg(long, default_value_t = 12_000_000)]
        deployments: i64,
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// A route's change on every edge, and an edge's start and memory.
    Routes {
        #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
        sizes: Vec<usize>,
    },
    /// Simulated agents that come back after a restart of the control plane.
    Reconnect {
        #[arg(long, default_value_t = 1_000)]
        agents: usize,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    telemetry::init_crypto();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let figures = match Arguments::parse().benchmark {
        Benchmark::Api { processors } => api::run(processors.as_deref()).await?,
        Benchmark::History {
            deployments,
            minutes,
        } => history::run(deployments, Duration::from_secs(60 * minutes)).await?,
        Benchmark::Routes { sizes } => routes::run(&sizes).await?,
        Benchmark::Reconnect { agents } => reconnect::run(agents).await?,
    };
    eprintln!("{}", figure::judge(&figures));
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
