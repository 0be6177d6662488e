//! What several tests ask of the example application.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use e2e::{
    edge::{Edge, Version},
    platform::Platform,
    wait,
};
use serde_json::{Value, json};

/// The example application in both regions.
pub fn hello(platform: &Platform) -> Value {
    json!({
        "source": { "repo": platform.status.example_repository },
        "scale": { "regions": { "us-east": 1, "eu-west": 1 }, "resources": { "cpu": 0.35 } },
        "deploy": {
            "startup": { "path": "/health", "interval": "1s", "timeout": "3s", "failures": 60 },
            "readiness": { "path": "/health", "interval": "1s", "timeout": "3s", "failures": 3 },
        },
    })
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

/// The folder of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// A copy of an example's files that a test may change.
pub fn copy_example(name: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(example(name))? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    Ok(folder)
}
