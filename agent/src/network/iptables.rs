//! Runs `iptables`. Programs get argument vectors, never a line for a shell.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt, process::Command};

/// Why the rules are not in force. No container is started then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program can't be run.
    #[error("can't run {program}: {source}; install iptables and run the agent as root")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The program refused.
    #[error("{program} {arguments} failed: {reason}")]
    Refused {
        /// Which.
        program: &'static str,
        /// With what.
        arguments: String,
        /// Its words.
        reason: String,
    },
}

/// A chain of the table `filter`.
pub async fn ensure_chain(chain: &str) -> Result<(), Error> {
    match run("iptables", &["-w", "5", "-S", chain]).await {
        Ok(_) => Ok(()),
        Err(_) => run("iptables", &["-w", "5", "-N", chain]).await.map(drop),
    }
}

/// `from` jumps to `to` first.
pub async fn ensure_hook(table: &str, from: &str, to: &str) -> Result<(), Error> {
    let here = ["-w", "5", "-t", table];
    let jump = ["-j", to];
    match run("iptables", &[&here[..], &["-C", from], &jump].concat()).await {
        Ok(_) => Ok(()),
        Err(_) => run("iptables", &[&here[..], &["-I", from, "1"], &jump].concat())
            .await
            .map(drop),
    }
}

/// Replaces the chains that `rules` declares, all at once.
pub async fn restore(program: &'static str, rules: &str) -> Result<(), Error> {
    const ARGUMENTS: [&str; 3] = ["--noflush", "-w", "5"];
    let cant_run = |source| Error::Run { program, source };
    let mut child = Command::new(program)
        .args(ARGUMENTS)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cant_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).await.map_err(cant_run)?;
    }
    let output = child.wait_with_output().await.map_err(cant_run)?;
    answer(program, &ARGUMENTS, &output).map(drop)
}

/// What a program says.
pub async fn run(program: &'static str, arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::Run { program, source })?;
    answer(program, arguments, &output)
}

fn answer(
    program: &'static str,
    arguments: &[&str],
    output: &std::process::Output,
) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Refused {
        program,
        arguments: arguments.join(" "),
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
