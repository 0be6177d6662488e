//! The local platform behind `./dev`: two regions on one machine, made of the real parts. `plan` says what
//! there is, `up` makes it so, the supervisor keeps it so, `down` takes exactly that away.

pub mod api;
mod authority;
mod balancer;
mod base_image;
mod bootstrap;
mod cgroup;
mod control_plane;
mod down;
mod engine;
pub mod example;
mod firewall;
mod internet;
mod mounts;
mod names;
mod netns;
mod node;
pub mod plan;
pub mod postgres;
pub mod process;
mod redis;
mod registry;
mod secrets;
mod slot;
pub mod state;
mod status;
mod supervisor;
mod trust;
pub mod up;

use std::{fs, os::unix::process::CommandExt as _, path::Path};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

pub use self::engine::machine_memory;
use self::plan::Plan;
use crate::{command::command, output::say};

/// What to do with the local platform.
#[derive(Subcommand, Debug)]
pub enum Task {
    /// Build and start everything, and deploy the example.
    Up {
        /// Start what is built already.
        #[arg(long)]
        no_build: bool,
    },
    /// End exactly what `up` started.
    Down {
        /// Remove its data too.
        #[arg(long)]
        wipe: bool,
    },
    /// What runs, and where.
    Status {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// The log of one process.
    Logs {
        /// As `status` names it, `control-plane` for all replicas, or `supervisor`.
        name: String,
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
    },
    /// Keep a process stopped.
    Hold {
        /// As `status` names it, or `control-plane` for all replicas.
        name: String,
    },
    /// Let a held process run again.
    Release {
        /// As `status` names it, or `control-plane` for all replicas.
        name: String,
    },
    /// Runs in the background; `up` starts it.
    #[command(hide = true)]
    Supervise,
}

/// Does it.
pub fn run(task: &Task) -> Result<()> {
    let dir = plan::platform_dir()?;
    match task {
        Task::Up { no_build } => up(&dir, *no_build),
        Task::Down { wipe } => down(&dir, *wipe),
        Task::Status { json } => status::run(&running_or_planned(&dir)?, *json),
        Task::Logs { name, follow } => logs(&running_or_planned(&dir)?, name, *follow),
        Task::Hold { name } => hold(&running(&dir)?, name, true),
        Task::Release { name } => hold(&running(&dir)?, name, false),
        Task::Supervise => supervisor::run(&running(&dir)?),
    }
}

fn up(dir: &Path, no_build: bool) -> Result<()> {
    let settings = up::Settings {
        no_build,
        ..up::Settings::read()?
    };
    up::run(&claim(dir)?, &settings)
}

/// Starts a platform whose nodes send traces to port 4318 of its host address, and whose builds reach
/// ports 2222 and 2223 there: where tests put an OTLP sink, a git server, and what a build must reach.
pub fn up_for_tests(dir: &Path, control_planes: u8) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    fs::write(dir.join("control-planes"), control_planes.to_string())?;
    let plan = claim(dir)?;
    up::run(&plan, &up::Settings::for_tests(&plan)?)
}

/// The platform that this checkout means, brought up unless it runs.
pub fn ensure_up() -> Result<Plan> {
    let dir = plan::platform_dir()?;
    if slot::held(&dir).is_none() {
        up(&dir, false)?;
    }
    running(&dir)
}

fn claim(dir: &Path) -> Result<Plan> {
    let plan = plan_of(dir, slot::claim(dir, last_slot(dir))?);
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    fs::write(dir.join("slot"), plan.slot.number().to_string())?;
    Ok(plan)
}

/// Ends the platform in `dir`.
pub fn down(dir: &Path, wipe: bool) -> Result<()> {
    match slot::held(dir) {
        Some(slot) => down::run(&plan_of(dir, slot))?,
        None => say!("The platform is not running."),
    }
    if wipe { down::wipe(dir) } else { Ok(()) }
}

fn running(dir: &Path) -> Result<Plan> {
    match slot::held(dir) {
        Some(slot) => Ok(plan_of(dir, slot)),
        None => bail!(
            "the platform in {} is not running; start it with ./dev up",
            dir.display()
        ),
    }
}

/// The platform as it runs, or as it would.
fn running_or_planned(dir: &Path) -> Result<Plan> {
    let slot = slot::held(dir)
        .or_else(|| last_slot(dir))
        .or_else(|| slot::Slot::new(0))
        .context("no slot")?;
    Ok(plan_of(dir, slot))
}

fn plan_of(dir: &Path, slot: slot::Slot) -> Plan {
    let plan = Plan::new(dir.to_owned(), slot);
    match remembered(dir, "control-planes") {
        Some(control_planes) => Plan {
            control_planes,
            ..plan
        },
        None => plan,
    }
}

fn last_slot(dir: &Path) -> Option<slot::Slot> {
    slot::Slot::new(remembered(dir, "slot")?)
}

/// A number that an earlier `up` has left.
fn remembered(dir: &Path, name: &str) -> Option<u8> {
    let number = fs::read_to_string(dir.join(name)).ok()?;
    number.trim().parse().ok()
}

fn hold(plan: &Plan, name: &str, held: bool) -> Result<()> {
    let mut names = plan.processes_called(name).into_iter();
    names.try_for_each(|name| process::hold(plan, &name, held))
}

fn logs(plan: &Plan, name: &str, follow: bool) -> Result<()> {
    let log = |name: String| plan.dir.join("log").join(format!("{name}.log"));
    let logs: Vec<_> = plan.processes_called(name).into_iter().map(log).collect();
    if !logs.iter().all(|log| log.exists()) {
        bail!("no log of \"{name}\"; ./dev status lists the processes");
    }
    let mut show = command(if follow {
        vec!["tail", "-n", "200", "-F"]
    } else {
        vec!["cat"]
    });
    Err(show.args(logs).exec()).context("showing the log")
}
