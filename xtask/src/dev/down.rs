//! `./dev down`: ends exactly what `up` started: processes in order, containers, then namespaces, mounts
//! and cgroups. Data stays unless `--wipe` says otherwise.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    cgroup, engine, mounts, netns,
    plan::Plan,
    process, slot,
    state::{Identity, State},
};
use crate::output::say;

const SUPERVISOR_WITHIN: Duration = Duration::from_secs(150);
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Ends the platform.
pub fn run(plan: &Plan) -> Result<()> {
    mounts::thaw(plan)?;
    let state = State::read(plan)?;
    stop_nodes_first(plan, &state)?;
    end_processes(plan, &state)?;
    netns::remove(plan)?;
    mounts::remove(plan)?;
    cgroup::remove(plan.slot)?;
    slot::release(plan.slot)
}

/// Removes the platform's data.
pub fn wipe(plan_dir: &std::path::Path) -> Result<()> {
    if !plan_dir.exists() {
        return Ok(());
    }
    fs::remove_dir_all(plan_dir).with_context(|| format!("removing {}", plan_dir.display()))
}

/// Ends every process of the platform: the supervisor stops its own in order; what is still there
/// after that (containers of a killed engine, what a killed supervisor left) is killed by its cgroup.
pub fn end_processes(plan: &Plan, state: &State) -> Result<()> {
    if let Some(supervisor) = state.live_supervisor() {
        supervisor.signal(Signal::SIGTERM)?;
        wait_for_end(supervisor)?;
    }
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = cgroup::members(plan.slot)?;
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            bail!("processes {left:?} of the platform do not end");
        }
        for pid in left {
            // It may have ended since the list was read.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(50));
    }
    process::forget_all(plan)?;
    State::default().write(plan)
}

/// Agents restart what stops, so they go first; then containers are stopped as an engine would.
fn stop_nodes_first(plan: &Plan, state: &State) -> Result<()> {
    if state.live_supervisor().is_none() {
        return Ok(());
    }
    for region in plan.regions() {
        let agent = region.process("agent");
        process::hold(plan, &agent, true)?;
        wait_until_stopped(plan, &agent)?;
        // What an engine does not stop is killed with its cgroup.
        if let Err(error) = engine::stop_containers(&region) {
            say!("  the containers of {} are killed: {error:#}", region.name);
        }
    }
    Ok(())
}

fn wait_until_stopped(plan: &Plan, name: &str) -> Result<()> {
    let deadline = Instant::now() + SUPERVISOR_WITHIN;
    while State::read(plan)?
        .process(name)
        .is_some_and(|process| process.identity.is_some())
    {
        if Instant::now() > deadline {
            bail!("{name} does not end");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn wait_for_end(supervisor: Identity) -> Result<()> {
    let deadline = Instant::now() + SUPERVISOR_WITHIN;
    while supervisor.is_alive() {
        if Instant::now() > deadline {
            bail!("the supervisor (process {}) does not end", supervisor.pid);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
