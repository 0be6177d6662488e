//! Nodes taken out and back as an operator does it, by the command line: what runs on a drained one moves, and nobody
//! who asks meanwhile notices.

use std::{cell::Cell, convert::Infallible, time::Duration};

use anyhow::{Result, bail, ensure};
use api::{
    instance::Instance,
    node::Node,
    platform::{Finding, Severity},
};
use domain::{id::ServiceId, instance::State};
use e2e::{
    command::{run, succeed},
    edge::{Edge, Version},
    platform::{Fixture, Platform, railhead},
    wait,
};
use tokio::time::sleep;

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);
const ASKED_AT_LEAST: usize = 20;

/// `railhead node VERB` for each of them.
pub async fn operate(platform: &Platform, verb: &str, nodes: &[&str]) -> Result<()> {
    for node in nodes {
        succeed(railhead(platform)?.args(["node", verb, node, "--yes"])).await?;
    }
    Ok(())
}

/// What `railhead admin doctor` calls critical: its exit code says the same.
async fn critical(platform: &Platform) -> Result<Vec<String>> {
    let said = run(railhead(platform)?.args(["--json", "admin", "doctor"])).await?;
    let mut findings: Vec<Finding> = serde_json::from_str(&said.stdout)?;
    findings.retain(|finding| finding.severity == Severity::Critical);
    ensure!(said.code == i32::from(!findings.is_empty()), "{said:?}");
    let about = |finding: Finding| format!("{} {}", finding.code, finding.subject);
    Ok(findings.into_iter().map(about).collect())
}

/// While `others` are cordoned eu-west takes nothing new, which the doctor says; once they are back it is content.
pub async fn others_come_back(platform: &Platform, others: &[&str]) -> Result<()> {
    assert_eq!(critical(platform).await?, ["region_without_agent eu-west"]);
    operate(platform, "uncordon", others).await?;
    assert_eq!(critical(platform).await?, Vec::<String>::new());
    Ok(())
}

/// Drains `node` under requests.
pub async fn empties(
    platform: &Platform,
    node: &str,
    fixture: &Fixture,
    others: &[Node],
) -> Result<()> {
    let edges = platform.edges(&fixture.host);
    let asked = Cell::new(0);
    let moved = async {
        operate(platform, "drain", &[node]).await?;
        moved(platform, fixture.service.id, others).await
    };
    tokio::select! {
        Err(failed) = ask(&edges, &asked) => bail!("while {node} was drained: {failed:#}"),
        moved = moved => moved?,
    }
    let asked = asked.get();
    ensure!(asked >= ASKED_AT_LEAST, "an invalid run: {asked} requests");
    Ok(())
}

/// Asks one edge after the other until one of them does not answer.
async fn ask(edges: &[Edge], asked: &Cell<usize>) -> Result<Infallible> {
    loop {
        for edge in edges {
            let answer = edge.fetch(Version::Http2, "/etc/debian_version").await?;
            let status = answer.status();
            ensure!(status == 200, "{status} through {}", edge.address);
            asked.update(|asked| asked + 1);
            sleep(PAUSE).await;
        }
    }
}

/// Until all that runs of the service is ready on one of `others`.
async fn moved(platform: &Platform, service: ServiceId, others: &[Node]) -> Result<()> {
    let path = format!("/v1/services/{service}/instances");
    wait::outcome(Duration::from_secs(60), || async {
        let mut instances: Vec<Instance> = platform.client.list(&path).await?;
        instances.retain(|instance| instance.state != State::Stopped);
        let is_moved = |instance: &Instance| {
            instance.ready && others.iter().any(|node| node.id == instance.node_id)
        };
        ensure!(!instances.is_empty(), "nothing runs");
        ensure!(instances.iter().all(is_moved), "{instances:?}");
        Ok(())
    })
    .await
}
