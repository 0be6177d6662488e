//! What a release's image comes from: a commit, or a ready image behind a tag. It stays with the release,
//! through redeploys and rollbacks, and reaches its instances.

use std::collections::BTreeMap;

use domain::{
    deployment::{Reason, Source},
    id::{DeploymentId, ReleaseId},
};
use protocol::{
    item::{BuildItem, BuildSource, NodeItem, Value},
    report::{BuildReport, BuildState, CommitInfo},
};
use sha2::{Digest as _, Sha256};
use testkit::fake_agent::FakeAgent;

use super::platform::Platform;

const IMAGE: &str = "registry.example.com/acme/api:1.4";

/// Each build makes something else; of a repository always the tip of `main`.
fn build(item: &BuildItem, report: &mut BuildReport) {
    let BuildState::Succeeded(result) = &mut report.state else {
        return;
    };
    let made = hex::encode(Sha256::digest(item.id.to_string()));
    match &item.source {
        BuildSource::Image { image } if image.to_string() == IMAGE => {
            result.source_digest = Some(format!("sha256:{}", made.replace('a', "b")));
        }
        BuildSource::Git { .. } => {
            result.commit = Some(CommitInfo {
                sha: made.chars().take(40).collect(),
                title: "Say hello".into(),
                author: "Ada".into(),
                branch: Some("main".into()),
            });
        }
        _ => return,
    }
    result.digest = format!("sha256:{made}");
}

/// The image and the plain variables of a deployment's instance.
fn instance(agent: &FakeAgent, deployment: DeploymentId) -> (String, BTreeMap<String, String>) {
    let state = agent.state().borrow().clone();
    let mut items = state.items.values().filter_map(|entry| match &entry.item {
        NodeItem::Instance(item) if item.deployment_id == deployment => Some(item.clone()),
        _ => None,
    });
    let item = items.next_back().expect("an instance of the deployment");
    let literal = |(name, value): (&domain::name::VariableName, &Value)| match value {
        Value::Literal(text) => Some((name.to_string(), text.clone())),
        Value::Secret(_) => None,
    };
    (
        item.image.clone(),
        item.environment.iter().filter_map(literal).collect(),
    )
}

async fn release_of(platform: &Platform, deployment: DeploymentId) -> ReleaseId {
    let id: uuid::Uuid = sqlx::query_scalar("select release_id from deployment where id = $1")
        .bind(deployment.uuid())
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    id.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_looked_up_by_each_deployment_and_a_rollback_takes_what_it_was_then() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    agent.on_build(build);
    let service = platform.service("api", "{}").await;
    let source = || Source::Image {
        image: IMAGE.into(),
    };
    let first = platform
        .deployment(&replica, service, source(), Reason::Deploy)
        .await;
    platform.reaches(first, "live").await;
    let (image, _) = instance(&agent, first);
    let ours = format!("127.0.0.1:5000/{}/{service}@sha256:", platform.organization);
    assert!(image.starts_with(&ours), "{image}");
    let release = release_of(&platform, first).await;
    let kept: (String, Option<String>, String) = sqlx::query_as(
        "select image_reference, image_source_digest, image from release where id = $1",
    )
    .bind(release.uuid())
    .fetch_one(&platform.pool)
    .await
    .unwrap();
    assert_eq!((kept.0.as_str(), kept.2.as_str()), (IMAGE, image.as_str()));
    assert!(kept.1.is_some_and(|digest| digest.starts_with("sha256:")));

    let again = platform
        .deployment(&replica, service, source(), Reason::Redeploy)
        .await;
    platform.reaches(again, "live").await;
    assert_ne!(instance(&agent, again).0, image, "the tag has moved");

    let back = platform.rollback(&replica, service, release).await;
    platform.reaches(back, "live").await;
    assert_eq!(instance(&agent, back).0, image);
    let builds = "select count(*) from build where service_id = $1";
    assert_eq!(platform.count(builds, service).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_told_its_commit_after_a_redeploy_and_a_rollback_too() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    agent.on_build(build);
    let service = platform.service("web", "{}").await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;
    let release = release_of(&platform, first).await;
    let (image, told) = instance(&agent, first);
    for (name, value) in [
        ("PORT", "8080"),
        ("RAILHEAD_PROJECT_NAME", "shop"),
        ("RAILHEAD_ENVIRONMENT_NAME", "production"),
        ("RAILHEAD_SERVICE_NAME", "web"),
        ("RAILHEAD_DEPLOYMENT_NAME", "1"),
        ("RAILHEAD_REGION", "us-east"),
        ("RAILHEAD_PRIVATE_DOMAIN", "web.internal"),
        ("RAILHEAD_PUBLIC_DOMAIN", "web-shop.railhead.test"),
        ("RAILHEAD_GIT_BRANCH", "main"),
        ("RAILHEAD_GIT_AUTHOR", "Ada"),
    ] {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(told["RAILHEAD_GIT_COMMIT_SHA"].len(), 40);

    let current = Source::Current { release };
    let again = platform
        .deployment(&replica, service, current, Reason::Redeploy)
        .await;
    platform.reaches(again, "live").await;
    let (same_image, told_again) = instance(&agent, again);
    assert_eq!(same_image, image);

    let second = platform.deploy(&replica, service).await;
    platform.reaches(second, "live").await;
    let (_, newer) = instance(&agent, second);
    let back = platform.rollback(&replica, service, release).await;
    platform.reaches(back, "live").await;
    let (_, told_back) = instance(&agent, back);
    for name in ["COMMIT_SHA", "BRANCH", "AUTHOR"].map(|name| format!("RAILHEAD_GIT_{name}")) {
        assert_eq!(told_again.get(&name), told.get(&name), "{name}");
        assert_eq!(told_back.get(&name), told.get(&name), "{name}");
    }
    assert_ne!(
        newer["RAILHEAD_GIT_COMMIT_SHA"],
        told["RAILHEAD_GIT_COMMIT_SHA"]
    );
}
