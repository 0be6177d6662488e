//! Runs one of this binary's tests again as a process of its own.

use std::process::Command;

const VARIABLE: &str = "RAILHEAD_TELEMETRY_CHILD";

/// Whether this process is a child that was started for `test`.
pub fn is(test: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|running| running == test)
}

/// A child that runs only `test`, which must ask [`is`] before it does anything.
pub fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(VARIABLE, test)
        .env_remove("WATCHDOG_PID")
        .env_remove("RUST_LOG");
    command
}
