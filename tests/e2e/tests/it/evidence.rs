//! What can be seen afterwards: logs of a container that is gone, one trace through every program, and
//! no trace of a build secret.

use std::{collections::BTreeSet, net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use api::{deployment::DeploymentSource, log::LogRecord};
use e2e::{
    edge::Version,
    otlp::Sink,
    platform::{Platform, lines_of, railhead},
    wait,
};
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{answers_from, copy_example, example, hello};

#[tokio::test]
async fn logs_of_a_container_that_is_gone_are_still_there() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform
        .fixture(
            "probe",
            json!({ "scale": { "regions": { "us-east": 1 }, "resources": { "cpu": 0.1 } } }),
        )
        .await?;
    platform.up(&fixture, &example("probe")).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let edge = platform.edge("us-east", &fixture.host);
    let said = format!("/remember-{}", hex::encode(rand::random::<[u8; 8]>()));
    wait::until("an answer", Duration::from_secs(60), || async {
        let answer = edge.fetch(Version::Http1, &said).await?;
        ensure!(
            answer.status() == 404 && !answer.headers().contains_key("x-railhead-error"),
            "status {}",
            answer.status()
        );
        Ok(())
    })
    .await;
    let old = platform.container_addresses(fixture.service.id).await?;
    platform
        .deploy(fixture.service.id, Some(DeploymentSource::Current))
        .await?;
    wait::until(
        "the old container is gone",
        Duration::from_secs(90),
        || async {
            let now = platform.container_addresses(fixture.service.id).await?;
            ensure!(now.len() == 1 && now != old, "{old:?} → {now:?}");
            Ok(())
        },
    )
    .await;
    let path = format!(
        "/v1/services/{}/logs?deployment_id={}&limit=1000",
        fixture.service.id, first.id
    );
    wait::until(
        "the log of the container that is gone",
        Duration::from_secs(30),
        || async {
            let records: Vec<LogRecord> =
                platform.client.ndjson(&path).await?.try_collect().await?;
            ensure!(
                lines_of(&records).contains(&said),
                "{} lines without {said}",
                records.len()
            );
            Ok(())
        },
    )
    .await;
    platform.delete(&fixture).await
}

#[tokio::test]
async fn one_trace_runs_through_control_plane_agent_and_edge() -> Result<()> {
    let platform = Platform::shared().await?;
    let sink = Sink::listen(SocketAddr::new(platform.host_address().parse()?, 4318)).await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    platform.deploy(fixture.service.id, None).await?;
    let trace = platform.client.trace().traceparent();
    let trace_id = trace
        .split('-')
        .nth(1)
        .context("a traceparent has a trace id")?;
    let wanted = BTreeSet::from(["agent", "control-plane", "edge-proxy"].map(str::to_owned));
    wait::until(
        "spans of every program",
        Duration::from_secs(30),
        || async {
            let seen = sink.services_of(trace_id);
            ensure!(seen == wanted, "so far from {seen:?}");
            Ok(())
        },
    )
    .await;
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_build_secret_reaches_the_build_and_no_layer() -> Result<()> {
    let platform = Platform::shared().await?;
    let secret = format!("build-secret-{}", hex::encode(rand::random::<[u8; 16]>()));
    let folder = copy_example("hello")?;
    let dockerfile = std::fs::read_to_string(folder.path().join("Dockerfile"))?;
    // The build proves that it saw the secret by a hash, which may stay.
    let step = "RUN --mount=type=secret,id=TOKEN sha256sum < /run/secrets/TOKEN > /app/seen.txt\n";
    let dockerfile = dockerfile.replace("USER 10001", &format!("{step}USER 10001"));
    std::fs::write(
        folder.path().join("Dockerfile"),
        format!("# syntax-free\n{dockerfile}"),
    )?;

    let mut spec = hello(&platform);
    spec.as_object_mut().expect("a table").remove("source");
    spec["build"] = json!({ "secrets": ["TOKEN"] });
    let fixture = platform.fixture("web", spec).await?;
    let path = format!("/v1/services/{}/variables/TOKEN", fixture.service.id);
    let _: Value = platform
        .client
        .put(&path, &json!({ "value": secret, "sealed": true }))
        .await?;
    platform.up(&fixture, folder.path()).await?;
    answers_from(&platform.edge("us-east", &fixture.host), "us-east").await;

    let image = platform.saved_image(fixture.service.id).await?;
    let hash = sha256_hex(&secret);
    assert!(
        contains(&image, hash.as_bytes()),
        "an invalid run: the build did not see the secret"
    );
    assert!(
        !contains(&image, secret.as_bytes()),
        "the secret is in the image"
    );
    let log = platform
        .build_log(&platform.newest_deployment(fixture.service.id).await?)
        .await?;
    assert!(!log.contains(&secret), "the secret is in the build's log");
    platform.delete(&fixture).await
}

#[tokio::test]
async fn the_log_command_follows_and_ends_when_told() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform
        .fixture(
            "probe",
            json!({ "scale": { "regions": { "us-east": 1 }, "resources": { "cpu": 0.1 } } }),
        )
        .await?;
    platform.up(&fixture, &example("probe")).await?;
    let mut command: Command = railhead(&platform)?;
    let child = command
        .args(["logs", "-n", "5", "-s", &fixture.service.id.to_string()])
        .stdout(Stdio::piped())
        .output();
    let said = tokio::time::timeout(Duration::from_secs(30), child)
        .await
        .context("logs did not end")??;
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    platform.delete(&fixture).await
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text.as_bytes()))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
