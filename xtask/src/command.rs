//! Running other programs: always an argument vector, and an error that says which program failed
//! and what it wrote.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A command from words, for readable call sites.
pub fn command<I: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = I>) -> Command {
    let mut words = words.into_iter();
    let program = words
        .next()
        .map_or_else(Default::default, |word| word.as_ref().to_owned());
    let mut command = Command::new(program);
    command.args(words);
    command
}

/// What to do with a prepared command.
pub trait CommandExt {
    /// Runs it with its output on the terminal; fails unless it exits with 0.
    fn run(&mut self) -> Result<()>;
    /// Runs it silently and returns its standard output; its standard error is in the error.
    fn read(&mut self) -> Result<String>;
    /// As [`CommandExt::read`], with `input` on its standard input.
    fn read_with(&mut self, input: &str) -> Result<String>;
    /// Whether it exits with 0; its output is discarded.
    fn succeeds(&mut self) -> bool;
}

impl CommandExt for Command {
    fn run(&mut self) -> Result<()> {
        let status = self
            .status()
            .with_context(|| format!("starting {}", describe(self)))?;
        if !status.success() {
            bail!("{} ended with {status}", describe(self));
        }
        Ok(())
    }

    fn read(&mut self) -> Result<String> {
        let output = self
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", describe(self)))?;
        stdout_of(self, output)
    }

    fn read_with(&mut self, input: &str) -> Result<String> {
        let mut child = self
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", describe(self)))?;
        let mut stdin = child.stdin.take().context("the program has no input")?;
        stdin
            .write_all(input.as_bytes())
            .with_context(|| format!("writing to {}", describe(self)))?;
        drop(stdin);
        let output = child.wait_with_output()?;
        stdout_of(self, output)
    }

    fn succeeds(&mut self) -> bool {
        self.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn stdout_of(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}: {}",
            describe(command),
            output.status,
            stderr.trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("output of {} is not UTF-8", describe(command)))
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_program_and_what_it_wrote() {
        let error = command(["sh", "-c", "echo no such thing >&2; exit 3"])
            .read()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no such thing"),
            "{error}"
        );
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(command(["cat"]).read_with("hello").unwrap(), "hello");
    }
}
