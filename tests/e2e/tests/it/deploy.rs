//! From a git URL to HTTPS in both regions; a version that never gets healthy.

use std::time::Duration;

use anyhow::Result;
use api::deployment::{DeploymentSource, DeploymentState};
use e2e::{
    edge::Version,
    platform::{Fixture, Platform},
};
use serde_json::{Value, json};

use crate::support::{about, answers_from, hello};

#[tokio::test]
async fn a_git_repository_answers_over_tls_in_both_regions() -> Result<()> {
    let platform = Platform::shared().await?;
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
    let platform = Platform::shared().await?;
    for edge in platform.edges(&platform.status.example_host) {
        about(&edge, Version::Http2).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_version_that_never_gets_healthy_fails_and_the_old_one_serves_on() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    platform.deploy(fixture.service.id, None).await?;
    let edge = platform.edge("us-east", &fixture.host);
    answers_from(&edge, "us-east").await;
    let before = about(&edge, Version::Http1).await?;

    let mut spec = hello(&platform);
    spec["deploy"]["startup"] =
        json!({ "path": "/no-such-page", "interval": "1s", "timeout": "1s", "failures": 3 });
    fails_with(&platform, &fixture, &spec, "startup_probe_failed").await?;
    // The deployment's own patience ends before the probe's: it says what the probe says so far.
    spec["deploy"]["startup"]["failures"] = json!(300);
    spec["deploy"]["progress_deadline"] = json!("10s");
    fails_with(&platform, &fixture, &spec, "startup_probe_failing").await?;

    let after = about(&edge, Version::Http1).await?;
    assert_eq!(
        after["instance"], before["instance"],
        "the old instance serves on"
    );
    platform.delete(&fixture).await
}

async fn fails_with(
    platform: &Platform,
    fixture: &Fixture,
    spec: &Value,
    code: &str,
) -> Result<()> {
    let service = fixture.service.id;
    platform.respecify(service, spec.clone()).await?;
    let bad = platform
        .begin(service, Some(DeploymentSource::Current))
        .await?;
    let bad = platform.end_of(&bad, Duration::from_secs(120)).await;
    assert_eq!(bad.state, DeploymentState::Failed);
    let error = bad.error.expect("a failed deployment says why");
    assert_eq!(error.code, code, "{}", error.message);
    assert!(
        error
            .message
            .contains("GET /no-such-page on port 8080 answered 404"),
        "{}",
        error.message
    );
    Ok(())
}
