//! Where a version may come from: a dirty working tree, a repository over ssh with a deploy key, a stock image.

use anyhow::{Context as _, Result};
use api::{
    deploy_key::DeployKey,
    deployment::{Deployment, DeploymentSource, DeploymentState},
    release::Release,
};
use e2e::{
    edge::Version,
    example::{about, answers_from, hello},
    platform::Platform,
};
use serde_json::json;
use testkit::git::Repository;

use crate::support::{copy_example, git_server};

#[tokio::test]
async fn a_dirty_working_tree_goes_live_without_what_is_ignored() -> Result<()> {
    let platform = Platform::shared().await?;
    let folder = copy_example("hello")?;
    std::fs::write(folder.path().join(".gitignore"), "secret.txt\n")?;
    std::fs::write(
        folder.path().join("secret.txt"),
        "must not leave this machine",
    )?;
    let dockerfile = std::fs::read_to_string(folder.path().join("Dockerfile"))?;
    let dirty = format!("{dockerfile}ENV HELLO_VERSION=dirty\nRUN test ! -e secret.txt\n");
    std::fs::write(folder.path().join("Dockerfile"), dirty)?;

    let mut spec = hello(&platform);
    spec.as_object_mut().expect("a table").remove("source");
    let fixture = platform.fixture("web", spec).await?;
    platform.up(&fixture, folder.path()).await?;
    let edge = platform.edge("eu-west", &fixture.host);
    answers_from(&edge, "eu-west").await;
    assert_eq!(about(&edge, Version::Http2).await?["version"], "dirty");
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_repository_that_is_not_there_fails_with_a_code() -> Result<()> {
    let platform = Platform::shared().await?;
    let mut spec = hello(&platform);
    spec["source"] = json!({ "repo": format!("{}-missing", platform.status.example_repository) });
    let fixture = platform.fixture("web", spec).await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    let ended = platform
        .end_of(&begun, std::time::Duration::from_secs(60))
        .await;
    let error = ended.error.expect("a failed deployment says why");
    assert_eq!(error.code, "repository_not_found", "{}", error.message);
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_repository_over_ssh_goes_live_with_its_deploy_key() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let copy = copy_example("hello")?;
    let path = format!("/v1/projects/{}/deploy-keys", fixture.project);
    let key: DeployKey = platform
        .client
        .post(&path, &json!({ "name": "git" }))
        .await?;
    let server = git_server(&platform, &key.public_key).await?;
    let repository = Repository::create(copy.path());
    repository.commit("Say hello over ssh");

    let mut spec = hello(&platform);
    spec["source"] = json!({ "repo": server.url(repository.path()) });
    platform.respecify(fixture.service.id, spec).await?;
    let deployment = platform.deploy(fixture.service.id, None).await?;
    assert_eq!(
        deployment.commit.map(|commit| commit.title),
        Some("Say hello over ssh".to_owned())
    );
    answers_from(&platform.edge("eu-west", &fixture.host), "eu-west").await;
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_stock_image_goes_live_by_its_tag_from_the_platforms_own_registry() -> Result<()> {
    let platform = Platform::shared().await?;
    let mut spec = hello(&platform);
    spec["source"] = json!({ "image": "python:3.11-slim" });
    spec["scale"]["regions"] = json!({ "us-east": 1 });
    // It starts as root.
    spec["deploy"]["confinement"] = json!("baseline");
    spec["deploy"]["start_command"] = json!(["python3", "-m", "http.server", "8080"]);
    for probe in ["startup", "readiness"] {
        spec["deploy"][probe]["path"] = json!("/etc/");
    }
    let fixture = platform.fixture("web", spec).await?;
    let service = fixture.service.id;
    let first = platform.deploy(service, None).await?;
    let edge = platform.edge("us-east", &fixture.host);
    let answer = edge.fetch(Version::Http2, "/etc/debian_version").await?;
    assert_eq!(answer.status(), 200);

    let release = release(&platform, &first).await?;
    let asked = release.source_image.clone().context("no source image")?;
    assert_eq!(asked.reference, "docker.io/library/python:3.11-slim");
    assert!(
        asked
            .digest
            .is_some_and(|digest| digest.starts_with("sha256:"))
    );
    let own = format!("/{}/{service}@sha256:", platform.organization);
    assert!(release.image.contains(&own), "{}", release.image);

    let again = platform
        .deploy(service, Some(DeploymentSource::Current))
        .await?;
    let steps: Vec<_> = again.steps.iter().map(|step| step.state).collect();
    assert!(
        steps.contains(&DeploymentState::Building),
        "the tag was not looked up: {steps:?}"
    );
    let release_id = release.id;
    let back = platform
        .deploy(service, Some(DeploymentSource::Release { release_id }))
        .await?;
    assert_eq!(back.release_id, Some(release_id));
    platform.delete(&fixture).await
}

async fn release(platform: &Platform, deployment: &Deployment) -> Result<Release> {
    let id = deployment.release_id.context("no release")?;
    Ok(platform.client.get(&format!("/v1/releases/{id}")).await?)
}
