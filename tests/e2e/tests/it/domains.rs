//! A hostname of a tenant's own: from the command line over DNS and a certificate authority to HTTPS at every edge.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{
    command::succeed,
    edge::{Edge, Version},
    example::{about, answers_from, hello},
    platform::{Platform, railhead},
    wait,
};

#[tokio::test]
async fn a_hostname_of_ones_own_is_served_over_https_at_every_edge() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    platform.deploy(fixture.service.id, None).await?;
    answers_from(&platform.edge("us-east", &fixture.host), "us-east").await;

    let label = format!("shop-{}", hex::encode(rand::random::<[u8; 4]>()));
    let hostname = platform.bring_hostname(&label).await?;
    let service = fixture.service.id.to_string();
    let project = fixture.project.to_string();
    let of_service = ["-p", &*project, "-s", &*service];
    let mut add = railhead(&platform)?;
    succeed(add.args(of_service).args(["domain", "add", &hostname])).await?;

    wait::until("a certificate", Duration::from_secs(120), || async {
        let mut list = railhead(&platform)?;
        let list = succeed(list.args(of_service).args(["cert", "list"]))
            .await?
            .stdout;
        let line = list.lines().find(|line| line.contains(&hostname));
        ensure!(
            line.is_some_and(|line| line.contains("days left")),
            "{list}"
        );
        Ok(())
    })
    .await;
    let roots = platform.authority_roots().await?;
    for (region, address) in &platform.status.edges {
        let edge = Edge::new(*address, &hostname, &roots)?;
        for version in [Version::Http1, Version::Http2] {
            wait::until(
                &format!("{hostname} in {region}"),
                Duration::from_secs(30),
                || async {
                    let about = about(&edge, version).await?;
                    ensure!(about["region"] == region.as_str(), "{about}");
                    Ok(())
                },
            )
            .await;
        }
    }
    platform.delete(&fixture).await
}
