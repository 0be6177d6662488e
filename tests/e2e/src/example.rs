//! The example application, as the tests deploy it and as it answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    edge::{Edge, Version},
    platform::Platform,
    wait,
};

/// The example application in both regions, with so little that several tests' fit on one platform.
pub fn hello(platform: &Platform) -> Value {
    json!({
        "source": { "repo": platform.status.example_repository },
        "scale": { "regions": { "us-east": 1, "eu-west": 1 }, "resources": { "cpu": 0.1 } },
        "deploy": {
            "startup": { "path": "/health", "interval": "1s", "timeout": "3s", "failures": 60 },
            "readiness": { "path": "/health", "interval": "1s", "timeout": "3s", "failures": 3 },
        },
    })
}

/// The example application with what it needs under the load of [`crate::load::ACCEPTANCE_MIX`].
pub fn hello_under_load(platform: &Platform) -> Value {
    let mut spec = hello(platform);
    spec["scale"]["resources"] = json!({ "cpu": 0.35 });
    spec
}

/// What the application says of itself at `/`.
pub async fn about(edge: &Edge, version: Version) -> Result<Value> {
    let answer = edge.fetch(version, "/").await?;
    ensure!(
        answer.status() == 200,
        "status {}: {}",
        answer.status(),
        String::from_utf8_lossy(answer.body())
    );
    Ok(serde_json::from_slice(answer.body())?)
}

/// Waits until the application answers through `edge` from `region`.
pub async fn answers_from(edge: &Edge, region: &str) {
    wait::until(
        &format!("{} through {} from {region}", edge.host, edge.address),
        Duration::from_secs(60),
        || async {
            let about = about(edge, Version::Http1).await?;
            ensure!(about["region"] == region, "{about}");
            Ok(())
        },
    )
    .await;
}
