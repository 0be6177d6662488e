//! What the figures were measured on.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::command::{CommandExt as _, command};

/// A machine, as far as it changes figures.
#[derive(Debug, Serialize)]
pub struct Machine {
    cpu: String,
    cpus: usize,
    memory_mib: u64,
    kernel: String,
    commit: String,
    load_before: String,
}

/// This machine, now.
pub fn this() -> Result<Machine> {
    let cpu = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    Ok(Machine {
        cpu: model.to_owned(),
        cpus: std::thread::available_parallelism()?.get(),
        memory_mib: crate::dev::machine_memory()? >> 20,
        kernel: command(["uname", "-sr"]).read()?.trim().to_owned(),
        commit: command(["git", "rev-parse", "--short", "HEAD"])
            .read()?
            .trim()
            .to_owned(),
        load_before: fs::read_to_string("/proc/loadavg")?.trim().to_owned(),
    })
}
