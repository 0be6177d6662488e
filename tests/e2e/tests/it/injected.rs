//! What a program is told about itself, in a real container: the same after a redeploy, its own again after a
//! rollback.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use api::deployment::{Deployment, DeploymentSource};
use e2e::{
    edge::Version,
    example::{about, answers_from, hello},
    platform::{Fixture, Platform},
};
use serde_json::{Value, json};

use crate::support::{commit, example, repository};

const REGION: &str = "us-east";

/// The variables of the instance that serves, which must be this deployment's.
async fn told(
    platform: &Platform,
    fixture: &Fixture,
    deployment: &Deployment,
) -> Result<BTreeMap<String, String>> {
    let told = platform.environment(REGION, fixture.service.id).await?;
    assert_eq!(told["RAILHEAD_DEPLOYMENT_ID"], deployment.id.to_string());
    Ok(told)
}

async fn project_name(platform: &Platform, fixture: &Fixture) -> Result<String> {
    let path = format!("/v1/projects/{}", fixture.project);
    let project: Value = platform.client.get(&path).await?;
    Ok(project["name"].as_str().context("no name")?.to_owned())
}

#[tokio::test]
async fn an_instance_knows_where_it_belongs_and_which_commit_it_is() -> Result<()> {
    let platform = Platform::shared().await?;
    let files = ["Dockerfile", "app.py", "server.py", "websocket.py"].map(|name| {
        (
            name,
            std::fs::read_to_string(example("hello").join(name)).unwrap(),
        )
    });
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let source = repository(&platform, "told", Some(&files))?;
    let mut spec = hello(&platform);
    spec["source"] = json!({ "repo": source.file_url() });
    spec["scale"]["regions"] = json!({ REGION: 1 });
    let fixture = platform.fixture("web", spec).await?;
    let service = fixture.service.id;

    let first = platform.deploy(service, None).await?;
    let edge = platform.edge(REGION, &fixture.host);
    answers_from(&edge, REGION).await;
    let of_first = told(&platform, &fixture, &first).await?;
    let oldest = first.commit.clone().context("no commit")?;
    let replica = of_first["RAILHEAD_REPLICA_ID"].clone();
    assert!(replica.starts_with("ins_"), "{replica}");
    for (name, value) in [
        ("PORT", "8080".to_owned()),
        ("RAILHEAD_PROJECT_ID", fixture.project.to_string()),
        (
            "RAILHEAD_PROJECT_NAME",
            project_name(&platform, &fixture).await?,
        ),
        ("RAILHEAD_ENVIRONMENT_ID", fixture.environment.to_string()),
        ("RAILHEAD_ENVIRONMENT_NAME", "production".to_owned()),
        ("RAILHEAD_SERVICE_ID", service.to_string()),
        ("RAILHEAD_SERVICE_NAME", "web".to_owned()),
        ("RAILHEAD_DEPLOYMENT_NAME", first.number.to_string()),
        (
            "RAILHEAD_REPLICA_NAME",
            format!("web-{}", &replica[replica.len() - 8..]),
        ),
        ("RAILHEAD_REGION", REGION.to_owned()),
        ("RAILHEAD_PUBLIC_DOMAIN", fixture.host.clone()),
        ("RAILHEAD_PRIVATE_DOMAIN", "web.internal".to_owned()),
        ("RAILHEAD_GIT_COMMIT_SHA", oldest.sha.clone()),
        ("RAILHEAD_GIT_BRANCH", "main".to_owned()),
        ("RAILHEAD_GIT_AUTHOR", "Ada".to_owned()),
    ] {
        assert_eq!(of_first.get(name), Some(&value), "{name}");
    }
    assert_eq!(about(&edge, Version::Http1).await?["version"], oldest.sha);

    let again = platform
        .deploy(service, Some(DeploymentSource::Current))
        .await?;
    let of_again = told(&platform, &fixture, &again).await?;
    assert_eq!(of_again["RAILHEAD_GIT_COMMIT_SHA"], oldest.sha);
    assert_eq!(of_again["RAILHEAD_GIT_BRANCH"], "main");

    let newest = commit(&source, "Second version")?;
    let second = platform.deploy(service, None).await?;
    let of_second = told(&platform, &fixture, &second).await?;
    assert_eq!(of_second["RAILHEAD_GIT_COMMIT_SHA"], newest);

    let release_id = first.release_id.context("no release")?;
    let back = platform
        .deploy(service, Some(DeploymentSource::Release { release_id }))
        .await?;
    let of_back = told(&platform, &fixture, &back).await?;
    assert_eq!(of_back["RAILHEAD_GIT_COMMIT_SHA"], oldest.sha);
    assert_eq!(back.commit.map(|commit| commit.sha), Some(oldest.sha));
    platform.delete(&fixture).await
}
