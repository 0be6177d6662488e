//! From a git URL to HTTPS in both regions; a version that never gets healthy.

use std::time::Duration;

use anyhow::Result;
use api::deployment::{DeploymentSource, DeploymentState};
use e2e::{
    edge::Version,
    platform::{Platform, status},
};
use serde_json::json;

use crate::support::{about, answers_from, hello};

#[tokio::test]
async fn a_git_repository_answers_over_tls_in_both_regions() -> Result<()> {
    let platform = Platform::running().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let deployment = platform.deploy(fixture.service.id, None).await?;
    assert!(
        deployment.commit.is_some(),
        "a deployment from git names its commit"
    );
    for region in ["us-east", "eu-west"] {
        let edge = platform.edge(region, &fixture.host);
        answers_from(&edge, region).await;
        for version in [Version::Http1, Version::Http2] {
            assert_eq!(
                about(&edge, version).await?["region"],
                region,
                "{version:?}"
            );
        }
    }
    platform.delete(&fixture).await
}

#[tokio::test]
async fn the_application_of_dev_up_answers() -> Result<()> {
    let platform = Platform::running().await?;
    for edge in platform.edges(&status().await?.example_host) {
        about(&edge, Version::Http2).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_version_that_never_gets_healthy_fails_and_the_old_one_serves_on() -> Result<()> {
    let platform = Platform::running().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let good = platform.deploy(fixture.service.id, None).await?;
    let edge = platform.edge("us-east", &fixture.host);
    answers_from(&edge, "us-east").await;
    let before = about(&edge, Version::Http1).await?;

    let mut spec = hello(&platform);
    spec["deploy"]["startup"] =
        json!({ "path": "/no-such-page", "interval": "1s", "timeout": "1s", "failures": 3 });
    platform.respecify(fixture.service.id, spec).await?;
    let bad = platform
        .begin(fixture.service.id, Some(DeploymentSource::Current))
        .await?;
    let bad = platform.end_of(&bad, Duration::from_secs(120)).await;

    assert_eq!(bad.state, DeploymentState::Failed);
    let error = bad.error.expect("a failed deployment says why");
    assert_eq!(error.code, "startup_probe_failed", "{}", error.message);
    let after = about(&edge, Version::Http1).await?;
    assert_eq!(
        after["instance"], before["instance"],
        "the old instance serves on"
    );
    assert_ne!(good.id, bad.id);
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_control_plane_killed_in_mid_deployment_goes_on_where_it_was() -> Result<()> {
    let platform = Platform::running().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    let mut killed = Vec::new();
    let limit = Duration::from_secs(120);
    for state in [DeploymentState::Building, DeploymentState::Starting] {
        e2e::wait::until(&format!("{state:?} or later"), limit, || async {
            let now = platform.deployment(&begun).await?;
            anyhow::ensure!(now.state >= state, "it is {:?}", now.state);
            Ok(())
        })
        .await;
        let pid = platform.kill("control-plane").await?;
        platform.wait_ready("control-plane", Some(pid)).await;
        killed.push(pid);
    }
    let ended = platform.end_of(&begun, limit).await;
    assert_eq!(ended.state, DeploymentState::Live, "{:?}", ended.error);
    assert_eq!(killed.len(), 2);
    answers_from(&platform.edge("us-east", &fixture.host), "us-east").await;
    platform.delete(&fixture).await
}
