//! `agent --config FILE`: see the library. `agent start-engine` is what starts the engines of a node.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use agent::{config::Config, engine_store, engine_tasks, run};
use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Makes this machine a node of Railhead: runs containers, builds images, reports.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Repairs what a kill may have left of an engine's networks and starts, and becomes the engine.
    StartEngine {
        /// The engine's data folder.
        #[arg(long, value_name = "FOLDER")]
        data_root: PathBuf,
        /// The state folder of its containerd; without it folders of tasks without a shim are left.
        #[arg(long, value_name = "FOLDER")]
        containerd_state: Option<PathBuf>,
        /// The engine and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

fn main() -> anyhow::Result<()> {
    telemetry::init_crypto();
    let arguments = Arguments::parse();
    if let Some(Task::StartEngine {
        data_root,
        containerd_state,
        command,
    }) = arguments.task
    {
        return start_engine(&data_root, containerd_state.as_deref(), &command);
    }
    serve(Config::load(
        &arguments.config.context("--config FILE is missing")?,
    )?)
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&telemetry::Config {
        service: "agent",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        log_filter: config.telemetry.log_filter.clone(),
    })?;
    run::run(config, telemetry::shutdown_signal()).await
}

/// What can't be repaired is the engine's to judge.
fn start_engine(
    data_root: &Path,
    containerd_state: Option<&Path>,
    command: &[OsString],
) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&telemetry::Config {
        service: "start-engine",
        otlp_endpoint: None,
        log_filter: None,
    })?;
    if let Err(error) = repair(data_root, containerd_state) {
        tracing::error!(error = format!("{error:#}"), folder = %data_root.display(), "what a kill of the engine may have left is not looked after");
    }
    // Lines are written by another thread, which does not outlive the exec.
    drop(telemetry);
    let (program, arguments) = command.split_first().context("no engine is named")?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("starting {}", program.display()))
}

/// All, or nothing while the engine runs.
fn repair(data_root: &Path, containerd_state: Option<&Path>) -> anyhow::Result<()> {
    let folder = data_root.display();
    for network in engine_store::repair(data_root)? {
        tracing::info!(%network, %folder, "a removal of this network that was cut off, or an old copy of its record, was found: the engine can go on with it");
    }
    for container in engine_tasks::end_cut_off_starts(data_root)? {
        tracing::info!(%container, %folder, "what was left of a start of this container that was cut off is ended: the engine can start it again");
    }
    let Some(state) = containerd_state else {
        return Ok(());
    };
    for container in engine_tasks::remove_unbegun(data_root, state)? {
        tracing::info!(%container, %folder, "the folder of a task of this container that never had a shim is removed: the engine can start it again");
    }
    Ok(())
}
