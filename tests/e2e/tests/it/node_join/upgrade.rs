//! Another program for the edge of a machine: nobody who uses what runs there notices, also when it is no good.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    command::succeed,
    edge::{Edge, Version},
    machine::Machine,
    wait,
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};

use super::{join, refused, succeeded, there_is};

const UNIT: &str = "railhead-edge";
const INSTALLED: &str = "/usr/local/lib/railhead/edge-proxy";
/// Programs of the next release, on the machine.
const NEXT: &str = "/var/tmp/next";
/// Requests go on for as many before and after.
const SOME: usize = 10;
const ENDS_WITHIN: Duration = Duration::from_secs(45);

pub async fn nobody_notices(machine: &Machine, token: &str, edge: &Edge) -> Result<()> {
    let before = machine.property(UNIT, "MainPID").await?;
    let mut users = Users::start(edge);
    users.some_more().await?;

    on(machine, "cp", &["-r", Machine::BINARIES, NEXT]).await?;
    let program = format!("{NEXT}/edge-proxy");
    on(machine, "cp", &["/bin/false", &program]).await?;
    let next = ["--binaries", NEXT];
    refused(join(machine, token, &next).await?, "unit_failed")?;
    assert_eq!(machine.property(UNIT, "MainPID").await?, before);
    let original = format!("{}/edge-proxy", Machine::BINARIES);
    // It is there should the edge be started again.
    on(machine, "cmp", &[&original, INSTALLED]).await?;
    users.some_more().await?;

    on(machine, "cp", &[&original, &program]).await?;
    on(machine, "truncate", &["--size=+1", &program]).await?;
    let joined = succeeded(join(machine, token, &next).await?)?;
    assert_eq!(renewed(&joined), ["handed over unit railhead-edge.service"]);
    users.some_more().await?;
    users.end().await?;
    is_gone(machine, &before).await;
    is_started_again(machine, edge).await
}

fn renewed(joined: &Value) -> Vec<&str> {
    let changed = joined["changed"].as_array().into_iter().flatten();
    let units = changed.filter_map(Value::as_str);
    units.filter(|change| change.contains(" unit ")).collect()
}

async fn is_gone(machine: &Machine, pid: &str) {
    wait::until("the process has ended", ENDS_WITHIN, || async {
        let is_there = there_is(machine, &format!("/proc/{pid}")).await?;
        ensure!(!is_there, "{pid} is there");
        Ok(())
    })
    .await;
}

/// systemd looks after the process that has taken over, and after its sockets: nobody is refused while there is none.
async fn is_started_again(machine: &Machine, edge: &Edge) -> Result<()> {
    let pid = machine.property(UNIT, "MainPID").await?;
    on(machine, "kill", &["-9", &pid]).await?;
    is_gone(machine, &pid).await;
    answers(edge).await
}

async fn on(machine: &Machine, program: &str, arguments: &[&str]) -> Result<()> {
    succeed(machine.command(program).args(arguments)).await?;
    Ok(())
}

async fn answers(edge: &Edge) -> Result<()> {
    for version in [Version::Http1, Version::Http2] {
        let answer = edge.fetch(version, "/etc/debian_version").await?;
        ensure!(answer.status() == 200, "{version:?}: {}", answer.status());
    }
    Ok(())
}

/// Ask again and again, each time on a new connection, until they are told to end or meet an error.
struct Users {
    served: watch::Receiver<usize>,
    ending: watch::Sender<bool>,
    asking: JoinHandle<Result<()>>,
}

impl Users {
    fn start(edge: &Edge) -> Self {
        let (ending, ended) = watch::channel(false);
        let (progress, served) = watch::channel(0);
        let edge = edge.clone();
        let asking = tokio::spawn(async move {
            while !*ended.borrow() {
                answers(&edge).await?;
                progress.send_modify(|served| *served += 1);
            }
            Ok(())
        });
        Self {
            served,
            ending,
            asking,
        }
    }

    async fn some_more(&mut self) -> Result<()> {
        let goal = *self.served.borrow() + SOME;
        let served = self.served.wait_for(|served| *served >= goal).await;
        served.context("a user met an error").map(drop)
    }

    async fn end(self) -> Result<()> {
        self.ending.send_replace(true);
        self.asking.await?
    }
}
