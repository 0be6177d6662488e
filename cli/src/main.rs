//! `railhead`, the command line: a face of the public API and nothing more. It promises exit codes
//! that scripts can rely on, JSON when asked for, and errors that say what to do next.

mod address;
mod advice;
mod archive;
mod args;
mod command;
mod confirm;
mod context;
mod credentials;
mod error;
mod files;
mod follow;
mod link;
mod node_join;
mod output;
mod provide;
#[cfg(test)]
mod reference;
mod spec;
mod target;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::{args::Cli, context::Context, error::Error, output::Output};

fn main() -> ExitCode {
    let matches = args::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output::of_terminal(&cli.global, cli.command.is_unattended());
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(&error)
        }
    }
}

fn run(cli: Cli, output: Output) -> Result<(), Error> {
    // A second installation fails and changes nothing: the provider is there either way.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::file("start", "the async runtime", &error))?;
    runtime.block_on(async {
        let context = Context::load(cli.global, output, cli.command.folder())?;
        tokio::select! {
            // A command that has something to say about Ctrl-C says it first.
            biased;
            result = Box::pin(command::run(cli.command, &context)) => result,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })
}
