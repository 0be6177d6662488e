//! A workload and a build reach nothing that they should not: host, metadata address, control plane,
//! other environments, the other region. `<service>.internal` answers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use api::deployment::{Deployment, DeploymentState};
use e2e::{
    edge::{Edge, Version},
    platform::{Fixture, Platform, railhead},
    wait,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::support::{example, hello};

const PROBES_AT_LEAST: usize = 50;
/// A probe that nobody would answer anyway proves nothing.
const LISTEN_AT_LEAST: usize = 8;
/// `xtask` lets builds of test platforms out to this port of the host.
const OPEN_PORT: u16 = 2223;

async fn ask(edge: &Edge, path: &str) -> Result<Value> {
    let answer = edge.fetch(Version::Http1, path).await?;
    ensure!(
        answer.status() == 200,
        "{path}: {}",
        String::from_utf8_lossy(answer.body())
    );
    Ok(serde_json::from_slice(answer.body())?)
}

fn probe_spec() -> Value {
    let health = json!({ "path": "/health", "interval": "1s", "timeout": "3s", "failures": 60 });
    json!({ "scale": { "regions": { "us-east": 1 }, "resources": { "cpu": 0.1 } }, "deploy": { "startup": health } })
}

/// A project whose service answers what it can reach, in `us-east`.
async fn prober(platform: &Platform) -> Result<(Fixture, Edge)> {
    let fixture = platform.fixture("probe", probe_spec()).await?;
    platform.up(&fixture, &example("probe")).await?;
    let edge = platform.edge("us-east", &fixture.host);
    wait::until("the probe answers", Duration::from_secs(60), || async {
        ask(&edge, "/health").await
    })
    .await;
    Ok((fixture, edge))
}

/// Everything that listens on the platform's network, and what would if it were there. Not the port of other
/// tests' git server: builds may go there.
fn shut(platform: &Platform, gateway: &str, foreign: &[String]) -> Vec<String> {
    let host = platform.host_address();
    let ports_of_host = [
        22, 80, 443, 2375, 4318, 5000, 5432, 6379, 8443, 8444, 8445, 9101,
    ];
    let ports_of_node = [22, 80, 443, 7443, 7444, 9101, 9102, 2375];
    let mut targets: Vec<String> = ports_of_host
        .iter()
        .map(|port| format!("{host}:{port}"))
        .collect();
    for region in platform.status.regions.values() {
        let published = 20_000..20_005;
        let ports = ports_of_node.into_iter().chain(published);
        targets.extend(ports.map(|port| format!("{}:{port}", region.address)));
    }
    targets.extend(ports_of_node.iter().map(|port| format!("{gateway}:{port}")));
    for port in [80, 443, 8080] {
        targets.extend([
            format!("169.254.169.254:{port}"),
            format!("169.254.170.2:{port}"),
        ]);
    }
    for address in foreign {
        targets.extend([8080, 80, 443].map(|port| format!("{address}:{port}")));
    }
    targets
}

/// An invalid run, unless there are enough targets and enough of them take a connection from here.
async fn ensure_worth_probing(targets: &[String]) -> Result<()> {
    let probed = targets.len();
    ensure!(
        probed >= PROBES_AT_LEAST,
        "an invalid run: {probed} targets"
    );
    let mut tries: JoinSet<bool> = targets.iter().cloned().map(listens).collect();
    let mut listening = 0;
    while let Some(answer) = tries.join_next().await {
        listening += usize::from(answer?);
    }
    ensure!(
        listening >= LISTEN_AT_LEAST,
        "an invalid run: {listening} of {probed} targets listen"
    );
    Ok(())
}

async fn listens(target: String) -> bool {
    let connected = timeout(Duration::from_secs(2), TcpStream::connect(target)).await;
    matches!(connected, Ok(Ok(_)))
}

fn connected(answers: &Value) -> Result<(usize, Vec<String>)> {
    let answers: BTreeMap<String, String> = serde_json::from_value(answers.clone())?;
    let reached = answers
        .iter()
        .filter(|(_, answer)| *answer == "connected")
        .map(|(target, _)| target.clone())
        .collect();
    Ok((answers.len(), reached))
}

async fn probe(edge: &Edge, targets: &[String]) -> Result<(usize, Vec<String>)> {
    let query: Vec<String> = targets
        .iter()
        .map(|target| format!("to={target}"))
        .collect();
    connected(&ask(edge, &format!("/connect?{}", query.join("&"))).await?)
}

#[tokio::test]
async fn a_workload_reaches_nothing_but_its_own_network() -> Result<()> {
    let platform = Platform::shared().await?;
    let (own, edge) = prober(&platform).await?;
    let other = platform.fixture("other", hello(&platform)).await?;
    platform.deploy(other.service.id, None).await?;
    let foreign = platform.container_addresses(other.service.id).await?;
    ensure!(
        foreign.len() == 2,
        "an invalid run: the other environment runs at {foreign:?}"
    );

    let itself = ask(&edge, "/self").await?;
    let gateway = itself["gateway"]
        .as_str()
        .context("the probe names no gateway")?;
    let targets = shut(&platform, gateway, &foreign);
    ensure_worth_probing(&targets).await?;
    let (probed, reached) = probe(&edge, &targets).await?;
    assert_eq!((probed, reached), (targets.len(), Vec::<String>::new()));

    // The same question about what it may reach, so that the answer above means something.
    let (_, reached) = probe(&edge, &["probe.internal:8080".to_owned()]).await?;
    assert_eq!(reached, ["probe.internal:8080"]);
    names_answer_at_once(&edge).await?;

    assert_eq!(itself["status"]["CapEff"], "0000000000000000");
    assert_eq!(itself["status"]["NoNewPrivs"], "1");
    assert_eq!(itself["status"]["Seccomp"], "2");
    platform.delete(&own).await?;
    platform.delete(&other).await
}

/// The environment's own names and no other; and what nobody has is an answer, not a wait.
async fn names_answer_at_once(edge: &Edge) -> Result<()> {
    let own = ask(edge, "/resolve?name=probe.internal").await?;
    assert_eq!(own["addresses"].as_array().map(Vec::len), Some(1), "{own}");
    for unknown in ["other.internal", "no-such-host.invalid"] {
        let answer = ask(edge, &format!("/resolve?name={unknown}")).await?;
        assert!(answer["error"].is_string(), "{unknown}: {answer}");
        let seconds = answer["seconds"].as_f64().context("no seconds")?;
        assert!(seconds < 1.0, "{unknown}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_build_reaches_nothing_of_the_platform() -> Result<()> {
    let platform = Platform::shared().await?;
    let other = platform.fixture("other", hello(&platform)).await?;
    platform.deploy(other.service.id, None).await?;
    let foreign = platform.container_addresses(other.service.id).await?;
    let mut targets = shut(&platform, "172.17.0.1", &foreign);
    ensure_worth_probing(&targets).await?;
    // What it may reach, so that the rest of the answer means something.
    let open = format!("{}:{OPEN_PORT}", platform.host_address());
    let _listener = TcpListener::bind(&open).await?;
    targets.push(open.clone());

    let mut spec = probe_spec();
    spec["build"] = json!({ "args": { "TARGETS": targets.join(","), "OPEN": open } });
    let fixture = platform.fixture("probing", spec).await?;
    let built = built(&platform, &fixture).await?;
    let log = platform.build_log(&built).await?;
    let found = format!("probed {} targets, reached 1: {open}", targets.len());
    assert!(log.lines().any(|line| line.ends_with(&found)), "{log}");
    platform.delete(&fixture).await?;
    platform.delete(&other).await
}

/// The deployment of the example `probing-build`, once its build has ended.
async fn built(platform: &Platform, fixture: &Fixture) -> Result<Deployment> {
    let service = fixture.service.id.to_string();
    let mut up = railhead(platform)?;
    up.args(["up", "--ci", "--detach", "--json", "-s", &service]);
    let said = e2e::command::run(up.arg(example("probing-build"))).await?;
    ensure!(said.code == 0, "{said:?}");
    let deployment = platform.newest_deployment(fixture.service.id).await?;
    let within = Duration::from_secs(180);
    wait::until("the probing build's end", within, || async {
        let now = platform.deployment(&deployment).await?.state;
        ensure!(now > DeploymentState::Building, "it is {now:?}");
        Ok(())
    })
    .await;
    Ok(deployment)
}
