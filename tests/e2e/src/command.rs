//! Programs as a user would run them: `./dev` and `railhead`, with their output.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
}

/// Runs to the end, whatever the exit code.
pub async fn run(command: &mut Command) -> Result<Said> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("running {command:?}"))?;
    Ok(Said {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    })
}

/// Runs to the end; an exit code other than 0 is an error with all that it said.
pub async fn succeed(command: &mut Command) -> Result<Said> {
    let said = run(command).await?;
    ensure!(
        said.code == 0,
        "{command:?} ended with {}:\n{}\n{}",
        said.code,
        said.stdout,
        said.stderr
    );
    Ok(said)
}
