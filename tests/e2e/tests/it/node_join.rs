//! Adding a machine: `railhead node join TOKEN` on one with systemd, which then builds, runs and answers; and why a
//! machine can't be a node, said before anything is changed on it.

mod drain;
mod lost;
mod upgrade;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::{
    instance::Instance,
    node::{Node, NodeRole},
};
use e2e::{
    command::{Said, run, succeed},
    edge::{Edge, Version},
    example::hello,
    machine::Machine,
    platform::{Platform, railhead},
    wait,
};
use serde_json::{Value, json};

use drain::operate;
use lost::Lost;

const NAME: &str = "us-east-2";
const UNITS: [&str; 5] = [
    "railhead-build-network",
    "railhead-build-engine",
    "railhead-engine",
    "railhead-agent",
    "railhead-edge",
];

#[tokio::test]
async fn a_machine_with_a_token_builds_runs_and_answers_and_a_second_call_changes_nothing()
-> Result<()> {
    let platform = Platform::alone().await?;
    let others = remove_node(&platform).await?;
    let machine = Machine::boot(&platform, "x-join").await?;
    let outcome = join_and_serve(&platform, &machine, &others).await;
    operate(&platform, "uncordon", &names(&others)).await?;
    remove_node(&platform).await?;
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(machine.journal().await)),
    }
}

async fn join_and_serve(platform: &Platform, machine: &Machine, others: &[Node]) -> Result<()> {
    let token = token(platform).await?;
    let dry = join(machine, &token, &["--dry-run"]).await?;
    ensure!(
        dry.stdout.contains("+ running unit railhead-agent.service"),
        "{}{}",
        dry.stdout,
        dry.stderr
    );
    ensure!(
        !there_is(machine, "/etc/railhead").await?,
        "a dry run changed the machine"
    );

    let first = succeeded(join(machine, &token, &[]).await?)?;
    let ready = |node: &Value| node["ready"] == true;
    let nodes = first["nodes"].as_array().context("no nodes")?;
    ensure!(nodes.len() == 2 && nodes.iter().all(ready), "{first}");
    let again = succeeded(join(machine, &token, &[]).await?)?;
    assert_eq!(again["changed"], json!([]), "the second call");
    assert_eq!(again["nodes"], first["nodes"]);
    least_privilege(machine).await?;

    // Nobody else may build or run it: what answers is this machine's.
    operate(platform, "cordon", &names(others)).await?;
    serves(platform, machine, &token, nodes, others).await?;
    leaves(machine).await
}

fn names(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.name.as_str()).collect()
}

/// Builds a stock image on the new machine, runs it there and asks the new edge for it; then the machine is emptied.
async fn serves(
    platform: &Platform,
    machine: &Machine,
    token: &str,
    nodes: &[Value],
    others: &[Node],
) -> Result<()> {
    let mut spec = hello(platform);
    spec["source"] = json!({ "image": "python:3.11-slim" });
    spec["scale"]["regions"] = json!({ "us-east": 1 });
    // It starts as root.
    spec["deploy"]["confinement"] = json!("baseline");
    spec["deploy"]["start_command"] = json!(["python3", "-m", "http.server", "8080"]);
    for probe in ["startup", "readiness"] {
        spec["deploy"][probe]["path"] = json!("/etc/");
    }
    let fixture = platform.fixture("web", spec.clone()).await?;
    let alone = lost::service_that_never_runs_twice(platform, &fixture, spec).await?;
    tokio::try_join!(
        platform.deploy(fixture.service.id, None),
        platform.deploy(alone, None)
    )?;
    let path = format!("/v1/services/{}/instances", fixture.service.id);
    let instances: Vec<Instance> = platform.client.list(&path).await?;
    let agent = nodes
        .iter()
        .find(|node| node["role"] == "agent")
        .context("no agent")?;
    for instance in &instances {
        assert_eq!(json!(instance.node_id), agent["id"], "{instance:?}");
    }
    ensure!(!instances.is_empty(), "no instance");
    let edge = Edge::new((machine.address, 443).into(), &fixture.host, platform.ca())?;
    for edge in [edge.clone(), platform.edge("eu-west", &fixture.host)] {
        let answer = edge.fetch(Version::Http2, "/etc/debian_version").await?;
        assert_eq!(answer.status(), 200, "through {}", edge.address);
    }
    outlives_its_agent(machine, &edge).await?;
    upgrade::nobody_notices(machine, token, &edge).await?;
    drain::others_come_back(platform, &names(others)).await?;
    drain::empties(platform, NAME, &fixture, others).await?;
    let lost = Lost {
        platform,
        machine,
        name: NAME,
        others,
        rolling: &fixture,
        alone,
    };
    Box::pin(lost.is_replaced_and_comes_back()).await?;
    platform.delete(&fixture).await
}

/// systemd starts again what dies, and the engine's restart ends no container.
async fn outlives_its_agent(machine: &Machine, edge: &Edge) -> Result<()> {
    for unit in ["railhead-agent", "railhead-engine"] {
        let before = machine.property(unit, "MainPID").await?;
        succeed(machine.command("kill").args(["-9", &before])).await?;
        wait::until(
            &format!("{unit} again"),
            Duration::from_secs(30),
            || async {
                let now = machine.property(unit, "MainPID").await?;
                let state = machine.property(unit, "ActiveState").await?;
                ensure!(
                    now != before && state == "active",
                    "it is {state}, process {now}"
                );
                Ok(())
            },
        )
        .await;
    }
    let answer = edge.fetch(Version::Http1, "/etc/debian_version").await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    Ok(())
}

/// Every unit runs, and as whom and with what it was promised.
async fn least_privilege(machine: &Machine) -> Result<()> {
    for unit in UNITS {
        assert_eq!(
            machine.property(unit, "ActiveState").await?,
            "active",
            "{unit}"
        );
    }
    let pid = machine.property("railhead-edge", "MainPID").await?;
    let status = format!("/proc/{pid}/status");
    let status = succeed(machine.command("cat").arg(&status)).await?.stdout;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    ensure!(field("Uid:") != "0", "the edge runs as root");
    // CAP_NET_BIND_SERVICE is bit 10.
    assert_eq!(field("CapEff:"), "0000000000000400");
    assert_eq!(field("NoNewPrivs:"), "1");
    let modes = ["/etc/railhead/agent.toml", "/etc/railhead/edge.toml"];
    let said = succeed(machine.command("stat").args(["-c", "%a %U:%G"]).args(modes)).await?;
    assert_eq!(said.stdout, "640 root:root\n640 root:railhead-edge\n");
    for spent in ["/etc/railhead/agent.token", "/etc/railhead/edge.token"] {
        ensure!(!there_is(machine, spent).await?, "{spent} is still there");
    }
    Ok(())
}

/// `node leave` takes all of it away.
async fn leaves(machine: &Machine) -> Result<()> {
    succeed(machine.railhead().args(["node", "leave", "--yes"])).await?;
    for path in [
        "/etc/railhead",
        "/var/lib/railhead/agent",
        "/etc/systemd/system/railhead-agent.service",
    ] {
        ensure!(!there_is(machine, path).await?, "{path} is still there");
    }
    let listed =
        succeed(
            machine
                .command("systemctl")
                .args(["list-units", "--no-legend", "railhead*"]),
        )
        .await?;
    let running = listed
        .stdout
        .lines()
        .filter(|line| line.contains("running"))
        .count();
    ensure!(running == 0, "{}", listed.stdout);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_can_not_be_a_node_is_told_why_and_stays_as_it_was() -> Result<()> {
    let platform = Platform::alone().await?;
    let machine = Machine::boot(&platform, "x-refused").await?;
    let token = token(&platform).await?;
    let (head, rest) = token.split_once('.').context("a token has parts")?;
    let foreign_ca = format!("{head}.{}{}", "00".repeat(32), &rest[64..]);
    let last = token.len() - 8;
    let wrong_secret = format!("{}00000000", &token[..last]);
    // https://127.0.0.1:1
    let nowhere = format!("rhm_aHR0cHM6Ly8xMjcuMC4wLjE6MQ.{rest}");
    for (token, code) in [
        ("rubbish", "join_token_invalid"),
        (foreign_ca.as_str(), "certificate_foreign"),
        (wrong_secret.as_str(), "join_token_invalid"),
        (nowhere.as_str(), "control_plane_unavailable"),
    ] {
        refused(join(&machine, token, &[]).await?, code)?;
    }
    refused(
        join(&machine, &token, &["--binaries", "/srv"]).await?,
        "binary_missing",
    )?;
    refused(
        join(&machine, &token, &["--memory", "900Ti"]).await?,
        "machine_too_small",
    )?;
    refused(as_nobody(&machine, &token).await?, "not_root")?;
    succeed(
        machine
            .command("mount")
            .args(["--bind", "/dev/null", "/usr/sbin/dockerd"]),
    )
    .await?;
    let said = join(&machine, &token, &[]).await?;
    ensure!(said.stderr.contains("apt-get install"), "{}", said.stderr);
    refused(said, "program_missing")?;
    ensure!(
        !there_is(&machine, "/etc/railhead").await?,
        "a refusal changed the machine"
    );
    Ok(())
}

fn refused(said: Said, code: &str) -> Result<()> {
    let text = said
        .stderr
        .lines()
        .rfind(|line| line.starts_with('{') || line.ends_with('}'));
    let error: Value = serde_json::from_str(text.unwrap_or_default())
        .with_context(|| format!("no error in {}", said.stderr))?;
    assert_eq!(error["error"]["code"], code, "{error}");
    assert_ne!(error["error"]["advice"], json!([""]), "{error}");
    assert_eq!(said.code, 1);
    Ok(())
}

async fn as_nobody(machine: &Machine, token: &str) -> Result<Said> {
    let mut railhead = machine.command("setpriv");
    railhead
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(format!("{}/railhead", Machine::BINARIES))
        .args(["--json", "node", "join", token]);
    run(&mut railhead).await
}

async fn join(machine: &Machine, token: &str, more: &[&str]) -> Result<Said> {
    let mut railhead = machine.railhead();
    if !more.contains(&"--dry-run") {
        railhead.arg("--json");
    }
    railhead.args(["node", "join", token, "--name", NAME]);
    for default in [
        ["--cpu", "0.5"],
        ["--memory", "1Gi"],
        ["--build-disk", "4Gi"],
    ] {
        if !more.contains(&default[0]) {
            railhead.args(default);
        }
    }
    run(railhead.args(more)).await
}

fn succeeded(said: Said) -> Result<Value> {
    ensure!(said.code == 0, "{}\n{}", said.stdout, said.stderr);
    let last = said.stdout.lines().last().context("no result")?;
    Ok(serde_json::from_str(last)?)
}

/// A token for both roles.
async fn token(platform: &Platform) -> Result<String> {
    let mut make = railhead(platform)?;
    let said = succeed(make.args(["--json", "node", "token", "--region", "us-east"])).await?;
    let made: Value = serde_json::from_str(&said.stdout)?;
    let token = made["token"].as_str().context("no token")?;
    ensure!(
        made["command"] == format!("railhead node join {token}"),
        "{made}"
    );
    Ok(token.to_owned())
}

async fn there_is(machine: &Machine, path: &str) -> Result<bool> {
    let said = run(machine.command("test").args(["-e", path])).await?;
    Ok(said.code == 0)
}

/// Removes what an earlier run may have left; the agents that are there without it.
async fn remove_node(platform: &Platform) -> Result<Vec<Node>> {
    let nodes: Vec<Node> = platform.client.list("/v1/nodes").await?;
    let (ours, others): (Vec<_>, Vec<_>) = nodes
        .into_iter()
        .partition(|node| node.name.as_str() == NAME);
    for node in ours.iter().filter(|node| !node.denied) {
        platform
            .client
            .delete(&format!("/v1/nodes/{}", node.id))
            .await?;
    }
    let agents = others
        .into_iter()
        .filter(|node| node.role == NodeRole::Agent && !node.denied);
    Ok(agents.collect())
}
