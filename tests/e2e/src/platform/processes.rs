//! What `./dev` says about the platform, and its processes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    command::{run, succeed},
    wait,
};

use super::{Platform, turn::Turn};

/// The watchdog alone lets a control plane hang for 60 s (`xtask/src/dev/control_plane.rs`).
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What `./dev status --json` says.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Every process, by name.
    pub processes: Vec<Process>,
    /// The API's address.
    pub api: String,
    /// The address that nodes connect to.
    pub node_api: url::Url,
    /// Region to HTTPS address.
    pub edges: BTreeMap<String, SocketAddr>,
    /// By name.
    pub regions: BTreeMap<String, Region>,
    /// By the name of its process, where each control plane's metrics are.
    pub control_planes: BTreeMap<String, String>,
    /// The namespace that all traffic between regions and control plane passes through.
    pub router_netns: String,
    /// PEM.
    pub ca_file: PathBuf,
    /// The example application's name.
    pub example_host: String,
    /// The git URL that the example was deployed from.
    pub example_repository: String,
    /// An administrator's token.
    pub admin_token_file: PathBuf,
}

/// What a region is made of.
#[derive(Debug, Clone, Deserialize)]
pub struct Region {
    /// The node's.
    pub address: IpAddr,
    /// The node's network namespace.
    pub netns: String,
    /// Of the engine that runs workloads.
    pub docker_socket: PathBuf,
    /// Of the engine that builds.
    pub build_socket: PathBuf,
}

/// One process of the platform.
#[derive(Debug, Clone, Deserialize)]
pub struct Process {
    /// Such as `us-east-agent`.
    pub name: String,
    /// While it runs.
    pub pid: Option<i32>,
    /// Such as `ready`.
    pub state: String,
    /// How often the supervisor has started it again.
    pub restarts: u32,
}

impl Platform {
    /// What `./dev` says of it now.
    pub async fn status_now(&self) -> Result<Status> {
        status(&self.turn).await
    }

    /// The process of that name, now.
    pub async fn process(&self, name: &str) -> Result<Process> {
        self.status_now()
            .await?
            .processes
            .into_iter()
            .find(|process| process.name == name)
            .with_context(|| format!("no process {name}"))
    }

    /// `kill -9`, at once.
    pub async fn kill(&self, name: &str) -> Result<i32> {
        self.signal(name, nix::sys::signal::Signal::SIGKILL).await
    }

    /// Keeps a process stopped (`true`) or lets the supervisor start it again.
    pub async fn hold(&self, name: &str, held: bool) -> Result<()> {
        succeed(
            self.turn
                .dev()
                .args([if held { "hold" } else { "release" }, name]),
        )
        .await
        .map(|_| ())
    }

    /// Waits until the supervisor says that `name` is ready in a process other than `not`.
    pub async fn wait_ready(&self, name: &str, not: Option<i32>) {
        wait::until(&format!("{name} ready"), READY_WITHIN, || async {
            let process = self.process(name).await?;
            ensure!(
                process.state == "ready" && process.pid != not,
                "it is {}",
                process.state
            );
            Ok(())
        })
        .await;
    }
}

/// `./dev`, in the checkout that these tests were built from.
pub fn dev() -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev"));
    command.kill_on_drop(true);
    command
}

impl Turn {
    /// `./dev`, for this platform.
    pub fn dev(&self) -> Command {
        let mut dev = dev();
        dev.env("RAILHEAD_DEV_DIR", &self.dir);
        dev
    }
}

/// What `./dev status --json` says now.
pub(super) async fn status(turn: &Turn) -> Result<Status> {
    let said = run(turn.dev().args(["status", "--json"])).await?;
    serde_json::from_str(&said.stdout)
        .with_context(|| format!("./dev status --json said {}{}", said.stdout, said.stderr))
}
