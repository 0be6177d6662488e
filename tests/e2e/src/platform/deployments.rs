//! Services and deployments, through the API and the `railhead` program.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use api::{
    deployment::{CreateDeployment, Deployment, DeploymentSource, DeploymentState},
    log::LogRecord,
};
use domain::id::ServiceId;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{command::succeed, wait};

use super::{Fixture, Platform};

impl Platform {
    /// Replaces the service's specification, for its next deployment.
    pub async fn respecify(&self, service: ServiceId, spec: Value) -> Result<()> {
        let path = format!("/v1/services/{service}");
        let now = self.client.get_versioned::<Value>(&path).await?;
        let _: Value = self
            .client
            .patch(&path, &now.etag, &json!({ "spec": spec }))
            .await?;
        Ok(())
    }

    /// Changes the number of replicas.
    pub async fn scale(&self, service: ServiceId, regions: &[(&str, u32)]) -> Result<()> {
        let regions: BTreeMap<_, _> = regions.iter().copied().collect();
        let _: Value = self
            .client
            .put(
                &format!("/v1/services/{service}/scale"),
                &json!({ "regions": regions }),
            )
            .await?;
        Ok(())
    }

    /// Starts a deployment.
    pub async fn begin(
        &self,
        service: ServiceId,
        source: Option<DeploymentSource>,
    ) -> Result<Deployment> {
        Ok(self
            .client
            .post(
                &format!("/v1/services/{service}/deployments"),
                &CreateDeployment { source },
            )
            .await?)
    }

    /// The deployment as it is now.
    pub async fn deployment(&self, deployment: &Deployment) -> Result<Deployment> {
        Ok(self
            .client
            .get(&format!("/v1/deployments/{}", deployment.id))
            .await?)
    }

    /// Waits for its end, whichever.
    pub async fn end_of(&self, deployment: &Deployment, limit: Duration) -> Deployment {
        wait::until(&format!("the end of {}", deployment.id), limit, || async {
            let now = self.deployment(deployment).await?;
            ensure!(
                now.state.is_final(),
                "it is {:?} since {}",
                now.state,
                now.state_since
            );
            Ok(now)
        })
        .await
    }

    /// Deploys and insists that it goes live.
    pub async fn deploy(
        &self,
        service: ServiceId,
        source: Option<DeploymentSource>,
    ) -> Result<Deployment> {
        let begun = self.begin(service, source).await?;
        let ended = self.end_of(&begun, Duration::from_secs(300)).await;
        ensure!(
            ended.state == DeploymentState::Live,
            "{:?}: {:?}",
            ended.state,
            ended.error
        );
        Ok(ended)
    }

    /// `railhead up` of a folder, to the end.
    pub async fn up(&self, fixture: &Fixture, folder: &Path) -> Result<()> {
        let service = fixture.service.id.to_string();
        succeed(
            railhead(self)?
                .args(["up", "--ci", "-s", &service])
                .arg(folder),
        )
        .await
        .map(|_| ())
    }

    /// The newest deployment of a service.
    pub async fn newest_deployment(&self, service: ServiceId) -> Result<Deployment> {
        let all: Vec<Deployment> = self
            .client
            .list(&format!("/v1/services/{service}/deployments"))
            .await?;
        all.into_iter()
            .max_by_key(|deployment| deployment.number)
            .context("no deployment")
    }

    /// All lines of a deployment's build.
    pub async fn build_log(&self, deployment: &Deployment) -> Result<String> {
        let path = format!("/v1/deployments/{}/logs", deployment.id);
        let lines: Vec<LogRecord> = self.client.ndjson(&path).await?.try_collect().await?;
        Ok(lines_of(&lines))
    }
}

/// The text of the lines, gaps and idle marks left out.
pub fn lines_of(records: &[LogRecord]) -> String {
    let lines = records.iter().filter_map(|record| match record {
        LogRecord::Line(line) => Some(format!("{}\n", line.text)),
        LogRecord::Gap { .. } | LogRecord::Idle => None,
    });
    lines.collect()
}

/// The `railhead` program of this build, signed in as the platform's administrator.
pub fn railhead(platform: &Platform) -> Result<Command> {
    let program = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .context("no target folder")?
        .join("railhead");
    ensure!(program.exists(), "{} is not built", program.display());
    let mut command = Command::new(program);
    command
        .env("RAILHEAD_API", &platform.status.api)
        .env("RAILHEAD_CA", &platform.status.ca_file)
        .env(
            "RAILHEAD_TOKEN",
            std::fs::read_to_string(&platform.status.admin_token_file)?.trim(),
        )
        .kill_on_drop(true);
    Ok(command)
}
