//! An engine that is killed amid the start of a container can start it afterwards (docs/adr/0047).

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use chaos::engine;
use e2e::platform::Platform;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::sleep;

const REGION: &str = "us-east";
const ENGINE: &str = "us-east-engine";
/// A start takes some 0.2 s from its shim on; a kill may come too late for it.
const TRIES: usize = 5;
const BEGINS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[tokio::test]
async fn a_container_whose_start_a_kill_has_cut_off_can_be_started_again() -> Result<()> {
    let platform = Platform::alone().await?;
    let before = engine::running(&platform).await?;
    let mut cut_off = false;
    for _ in 0..TRIES {
        let container = engine::create_container(&platform, REGION).await?;
        let killed = kill_amid_start(&platform, &container).await?;
        platform.wait_ready(ENGINE, Some(killed)).await;
        engine::start(&platform, REGION, &container).await?;
        engine::remove(&platform, REGION, &container).await?;
        cut_off = was_cut_off(&platform, &container)?;
        if cut_off {
            break;
        }
    }
    ensure!(
        cut_off,
        "an invalid run: each of {TRIES} kills came too late or too early"
    );
    // What an earlier test has deleted may still be on its way out.
    let after = engine::running(&platform).await?;
    ensure!(
        after.is_subset(&before),
        "made anew: {after:?}, before {before:?}"
    );
    Ok(())
}

/// The engine's process that was killed.
async fn kill_amid_start(platform: &Platform, container: &str) -> Result<i32> {
    let process = platform.process(ENGINE).await?.pid;
    let process = process.context("the engine does not run")?;
    let killing = async {
        let deadline = Instant::now() + BEGINS_WITHIN;
        while !has_shim(container)? {
            ensure!(Instant::now() < deadline, "no start of {container} begins");
            sleep(LOOK_EVERY).await;
        }
        Ok(kill(Pid::from_raw(process), Signal::SIGKILL)?)
    };
    // Whether the start is answered does not matter.
    let (_, killed) = tokio::join!(engine::start(platform, REGION, container), killing);
    killed.map(|()| process)
}

/// Whether a process looks after this container.
fn has_shim(container: &str) -> Result<bool> {
    for entry in fs::read_dir("/proc")? {
        // It may have ended meanwhile.
        let line = fs::read_to_string(entry?.path().join("cmdline")).unwrap_or_default();
        if line.contains("containerd-shim") && line.contains(container) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// As `agent start-engine` says it.
fn was_cut_off(platform: &Platform, container: &str) -> Result<bool> {
    let file = platform.data()?.join("log").join(format!("{ENGINE}.log"));
    let log = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut lines = log.lines();
    Ok(lines.any(|line| line.contains("was cut off is ended") && line.contains(container)))
}
