//! House automation behind `./dev`: the local platform, the house rules, the tests, the benchmarks.
//! Blocking and small on purpose: it is built before anything else.
#![allow(clippy::print_stderr, reason = "a program for a terminal")]

mod bench;
mod cargo;
mod command;
mod dev;
mod output;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "House automation; usually called through ./dev")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the house rules: who may know whom, where SQL may stand, what no file may say.
    Tidy,
    /// The local platform.
    #[command(subcommand)]
    Dev(dev::Task),
    /// Format check, clippy, tidy, every test.
    Test(test::Options),
    /// Measure a running platform.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Dev(task) => dev::run(&task),
        Task::Tidy => tidy::run(),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}
