//! What nodes keep although the document of a restored database lacks it: they report it, the doctor names it,
//! and an operator lets it go.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::{
    node::{Node, NodeRole},
    platform::Finding,
};
use domain::name::Name;
use e2e::{
    command::{run, succeed},
    platform::{Platform, railhead},
    wait,
};

const REPORTED_WITHIN: Duration = Duration::from_secs(30);
const FINDINGS: [&str; 2] = ["brake_holds", "orphans"];
const REASON: &str = "the restored database has forgotten it";

/// What one node keeps of one feed.
#[derive(Debug)]
struct Kept {
    node: Name,
    region: Name,
    role: NodeRole,
    feed: String,
    items: i64,
}

/// Insists that no brake holds anything yet.
pub async fn is_free(platform: &Platform) -> Result<()> {
    let kept = kept(platform).await?;
    ensure!(kept.is_empty(), "an invalid run: nodes keep {kept:?}");
    Ok(())
}

/// Waits until a node reports that it keeps so many instances at least, and each edge that it keeps routes; the
/// doctor has seen it.
pub async fn holds(platform: &Platform, instances: i64) -> Result<()> {
    wait::outcome(REPORTED_WITHIN, || async {
        let kept = kept(platform).await?;
        let of = |role| kept.iter().filter(move |one| one.role == role);
        let most = of(NodeRole::Agent).map(|one| one.items).max();
        let edges = platform.status.edges.keys();
        let mut all =
            edges.map(|region| of(NodeRole::Edge).any(|one| one.region.as_str() == region));
        ensure!(
            most >= Some(instances) && all.all(|keeps| keeps),
            "nodes keep {kept:?}"
        );
        let findings = doctor(platform).await?;
        let found = |code: &&str| findings.iter().any(|finding| finding.code == **code);
        ensure!(FINDINGS.iter().all(found), "the doctor says {findings:?}");
        Ok(())
    })
    .await
}

/// An operator lets go what edges keep, and then what the region's agent does, as the doctor advises.
pub async fn is_overridden(platform: &Platform, region: &str) -> Result<()> {
    let mut kept = kept(platform).await?;
    kept.retain(|one| one.role == NodeRole::Edge || one.region.as_str() == region);
    kept.sort_by_key(|one| one.role == NodeRole::Agent);
    for one in &kept {
        let mut command = railhead(platform)?;
        command.args(["node", "override", one.node.as_str()]);
        command.args(["--feed", &one.feed, "--reason", REASON, "--yes"]);
        succeed(&mut command).await?;
    }
    Ok(())
}

/// Waits until nothing is kept any more, and the doctor is content with it.
pub async fn has_let_go(platform: &Platform) -> Result<()> {
    wait::outcome(REPORTED_WITHIN, || async {
        let kept = kept(platform).await?;
        ensure!(kept.is_empty(), "nodes still keep {kept:?}");
        let mut findings = doctor(platform).await?;
        findings.retain(|finding| FINDINGS.contains(&finding.code.as_str()));
        ensure!(findings.is_empty(), "the doctor still says {findings:?}");
        Ok(())
    })
    .await
}

async fn kept(platform: &Platform) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for node in platform.client.list::<Node>("/v1/nodes").await? {
        for (feed, applied) in node.status.map(|told| told.feeds).unwrap_or_default() {
            kept.push(Kept {
                node: node.name.clone(),
                region: node.region.clone(),
                role: node.role,
                feed,
                items: applied.held_drops,
            });
        }
    }
    kept.retain(|one| one.items > 0);
    Ok(kept)
}

/// It exits with 1 when something else is critical.
async fn doctor(platform: &Platform) -> Result<Vec<Finding>> {
    let said = run(railhead(platform)?.args(["--json", "admin", "doctor"])).await?;
    serde_json::from_str(&said.stdout).with_context(|| format!("the doctor said {said:?}"))
}
