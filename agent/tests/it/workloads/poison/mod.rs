//! The agent's process is sent poison of every kind: it does not die of it, keeps to its last good document, lets its
//! containers be, and takes the next right document. `RAILHEAD_POISON=full` sends ten times as much,
//! `RAILHEAD_POISON_SEED` other poison.

#![allow(clippy::print_stdout, reason = "a failure is told to people")]

mod control_plane;
mod harm;
mod process;
mod trial;

use std::{env, net::SocketAddr, path::Path};

use agent::runtime::architecture;
use domain::{
    id::{EnvironmentId, InstanceId},
    quantity::Span,
    spec::Probe,
};
use protocol::{
    item::{InstanceItem, RunMode},
    report::InstanceReport,
};
use testkit::{poison::Kind, wait::until_some};

use self::trial::Trial;
use super::{
    machine::{Machine, in_a_network, on_a_machine},
    node::{web, worker},
    process::PATIENCE,
};

/// Each is sent every kind: two hundred and more in all.
const AGENTS: u64 = 10;
const SERVER: &[&str] = &["httpd", "-f", "-p", "8080", "-h", "/www"];

fn seed() -> u64 {
    let chosen = env::var("RAILHEAD_POISON_SEED").ok();
    chosen.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn kinds() -> Vec<Kind> {
    let is_full = env::var("RAILHEAD_POISON").is_ok_and(|value| value == "full");
    Kind::ALL.repeat(if is_full { 10 } else { 1 })
}

/// Without an engine it can only remember what it shall run.
#[test]
fn a_process_outlives_poison_of_every_kind_and_keeps_to_its_last_good_document() {
    std::thread::scope(|scope| {
        for n in 0..AGENTS {
            // No two runs of other seeds have one of these in common.
            scope.spawn(move || in_a_network(move || outlives(seed() * AGENTS + n)));
        }
    });
}

async fn outlives(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut trial = without_an_engine(seed, folder.path()).await;
    let kinds = kinds();
    for kind in &kinds {
        println!("seed {seed}: {kind:?}");
        trial.poison(*kind).await;
        assert_eq!(trial.is_unharmed().await, Ok(()), "{kind:?}");
        assert_eq!(trial.recovers(PATIENCE).await, Ok(()), "{kind:?}");
    }
    trial.is_told_of(kinds.len()).await;
}

async fn without_an_engine(seed: u64, folder: &Path) -> Trial {
    let image = format!("127.0.0.1:5000/a/b@sha256:{}", "ab".repeat(32));
    let instances = [(); 4].map(|()| bare(worker(&image, &["serve"])));
    let no_engine = Path::new("/nonexistent/docker.sock");
    Trial::start(seed, folder, no_engine, instances.into()).await
}

#[test]
fn poison_of_every_kind_lets_containers_be() {
    on_a_machine(async |machine: Machine| {
        let (mut trial, running) = with_an_engine(seed(), &machine).await;
        let kinds = kinds();
        for kind in &kinds {
            println!("{kind:?}");
            trial.poison(*kind).await;
            assert_eq!(trial.is_unharmed().await, Ok(()), "{kind:?}");
            for one in &running {
                assert_eq!(one.is_unharmed(&machine).await, Ok(()), "{kind:?}");
            }
            assert_eq!(trial.recovers(PATIENCE).await, Ok(()), "{kind:?}");
        }
        trial.is_told_of(kinds.len()).await;
        for one in running {
            assert_eq!(address(&trial, one.id).await, one.address);
        }
        assert_eq!(trial.agent.get("/readyz").await, "ready\n");
    });
}

async fn with_an_engine(seed: u64, machine: &Machine) -> (Trial, Vec<Running>) {
    let image = machine.image("web", "1000", SERVER, architecture()).await;
    let instances = [(); 2].map(|()| served(&image));
    let ids = instances.each_ref().map(|instance| instance.id);
    let (folder, socket) = (machine.path("node"), machine.socket());
    std::fs::create_dir(&folder).unwrap();
    let trial = Trial::start(seed, &folder, &socket, instances.into()).await;
    let mut running = Vec::new();
    for id in ids {
        running.push(Running {
            id,
            address: address(&trial, id).await,
            container: container(machine, id).await,
        });
    }
    (trial, running)
}

/// Where it is reached, once it is ready.
async fn address(trial: &Trial, id: InstanceId) -> SocketAddr {
    let ready = |report: &InstanceReport| report.id == id && report.ready;
    let look = async || {
        let seen = trial.control_plane.seen()?;
        seen.instances.into_iter().find(ready)?.address
    };
    until_some(PATIENCE, look).await
}

/// Another one has another: its id, and since when it runs.
type Container = (Option<String>, Option<String>);

async fn container(machine: &Machine, id: InstanceId) -> Container {
    let name = format!("rh-{id}");
    let found = machine.client().inspect_container(&name, None).await;
    let found = found.unwrap();
    let started = found.state.and_then(|state| state.started_at);
    (found.id, started)
}

/// An instance as it was before any poison.
struct Running {
    id: InstanceId,
    address: SocketAddr,
    container: Container,
}

impl Running {
    /// It is as it was, and answers; or what is amiss.
    async fn is_unharmed(&self, machine: &Machine) -> Result<(), String> {
        let now = container(machine, self.id).await;
        if now != self.container {
            return Err(format!("{:?} has become {now:?}", self.container));
        }
        let connected = tokio::net::TcpStream::connect(self.address).await;
        connected.map(drop).map_err(|error| error.to_string())
    }
}

/// No document sent here brings a secret.
fn bare(item: InstanceItem) -> InstanceItem {
    InstanceItem {
        environment: [].into(),
        ..item
    }
}

/// A bad probe in a signed document is no reason to end it, unless it says so.
fn served(image: &str) -> InstanceItem {
    let readiness = Probe {
        path: Some("/".to_owned()),
        interval: Span::seconds(1),
        timeout: Span::seconds(2),
        failures: 3,
    };
    InstanceItem {
        run: RunMode::Service {
            startup: None,
            readiness: Some(readiness),
            liveness: None,
        },
        ..bare(web(image, EnvironmentId::new()))
    }
}
