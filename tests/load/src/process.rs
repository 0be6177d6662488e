//! The programs under measurement: built beside this one, and ended with it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// A running program; killed when dropped.
pub struct Process(Child);

/// A program of this build.
pub fn program(name: &str) -> Result<Command> {
    let own = std::env::current_exe().context("where is this program?")?;
    let path = own.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is missing: build it in the same profile",
        path.display()
    );
    Ok(Command::new(path))
}

/// Runs a command to its end.
pub fn complete(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

impl Process {
    /// Starts a program that writes its log to a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self(child))
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.0.kill()?;
        Ok(self.0.wait()?)
    }

    /// Resident memory in MiB.
    pub fn resident_mebibytes(&self) -> Result<f64> {
        let path = PathBuf::from(format!("/proc/{}/status", self.0.id()));
        let status = std::fs::read_to_string(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: f64 = line
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .context("no VmRSS")?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("load: a process could not be ended: {error:#}");
        }
    }
}
