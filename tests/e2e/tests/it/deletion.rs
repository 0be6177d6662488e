//! A deleted project says what it waits for, and leaves nothing behind.

use std::time::Duration;

use anyhow::{Result, ensure};
use api::deletion::Deletion;
use e2e::{platform::Platform, wait::until};

use crate::support::{answers_from, hello};

/// Agents remove images a minute after the last instance of their service, and look every 20 s.
const GONE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn a_deleted_project_leaves_nothing_on_engines_edges_or_in_the_api() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let (environment, service) = (fixture.environment, fixture.service.id);
    platform.deploy(service, None).await?;
    answers_from(&platform.edge("us-east", &fixture.host), "us-east").await;
    let before = platform.leftovers(environment, service).await?;
    ensure!(
        before.len() >= 6,
        "containers, networks and images of both regions should be found: {before:?}"
    );

    platform.delete(&fixture).await?;
    let path = format!("/v1/organizations/{}/deletions", platform.organization);
    let subject = fixture.project.to_string();
    let of_project = async || -> Result<Option<Deletion>> {
        let all: Vec<Deletion> = platform.client.list(&path).await?;
        Ok(all.into_iter().find(|one| one.subject == subject))
    };
    until("the deletion says what it waits for", GONE, || async {
        let deletion = of_project().await?;
        let waits_on = deletion.and_then(|deletion| deletion.waits_on);
        waits_on.ok_or_else(|| anyhow::anyhow!("it waits for nothing"))
    })
    .await;
    until("the project is gone", GONE, || async {
        let deletion = of_project().await?;
        ensure!(deletion.is_none(), "{deletion:?}");
        Ok(())
    })
    .await;
    let left = platform.leftovers(environment, service).await?;
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}
