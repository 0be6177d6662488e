//! The agent's process is sent poison of every kind: it does not die of it, keeps to its last good document, lets its
//! containers be, and takes the next right document. `RAILHEAD_POISON=full` sends ten times as much,
//! `RAILHEAD_POISON_SEED` other poison.

#![allow(clippy::print_stdout, reason = "a failure is told to people")]

mod control_plane;
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
            scope.spawn(move || in_a_network(move || outlives(seed() + n)));
        }
    });
}

async fn outlives(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("127.0.0.1:5000/a/b@sha256:{}", "ab".repeat(32));
    let instances = [(); 4].map(|()| bare(worker(&image, &["serve"])));
    let no_engine = Path::new("/nonexistent/docker.sock");
    let mut trial = Trial::start(seed, folder.path(), no_engine, instances.into()).await;
    let kinds = kinds();
    for kind in &kinds {
        println!("seed {seed}: {kind:?}");
        trial.poison(*kind).await;
        trial.recovers().await;
    }
    trial.is_told_of(kinds.len()).await;
}

#[test]
fn poison_of_every_kind_lets_containers_be() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("web", "1000", SERVER, architecture()).await;
        let instances = [(); 2].map(|()| served(&image));
        let ids = instances.each_ref().map(|instance| instance.id);
        let (folder, socket) = (machine.path("node"), machine.socket());
        std::fs::create_dir(&folder).unwrap();
        let mut trial = Trial::start(seed(), &folder, &socket, instances.into()).await;
        let mut before = Vec::new();
        for id in ids {
            before.push((address(&trial, id).await, identity(&machine, id).await));
        }
        let kinds = kinds();
        for kind in &kinds {
            println!("{kind:?}");
            trial.poison(*kind).await;
            for (id, (address, identity)) in ids.iter().zip(&before) {
                assert_eq!(&self::identity(&machine, *id).await, identity, "{kind:?}");
                let connected = tokio::net::TcpStream::connect(address).await;
                assert!(connected.is_ok(), "{kind:?}: {connected:?}");
            }
            trial.recovers().await;
        }
        trial.is_told_of(kinds.len()).await;
        for (id, (address, _)) in ids.into_iter().zip(before) {
            assert_eq!(self::address(&trial, id).await, address);
        }
        assert_eq!(trial.agent.get("/readyz").await, "ready\n");
    });
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

/// Another one has another: its container's id, and since when it runs.
async fn identity(machine: &Machine, id: InstanceId) -> (Option<String>, Option<String>) {
    let name = format!("rh-{id}");
    let found = machine.client().inspect_container(&name, None).await;
    let found = found.unwrap();
    let started = found.state.and_then(|state| state.started_at);
    (found.id, started)
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
