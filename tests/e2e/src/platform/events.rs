//! The organization's event stream.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::{
    deployment::{Deployment, DeploymentState},
    event::Event,
};
use futures::StreamExt as _;
use serde::Deserialize;

use super::Platform;

/// What is told already comes at once.
const WITHIN: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Changed {
    state: DeploymentState,
}

impl Platform {
    /// Every step of a deployment that was told, up to its end, as often as it was told.
    pub async fn steps_told(&self, deployment: &Deployment) -> Result<Vec<DeploymentState>> {
        let mut steps = Vec::new();
        let read = async {
            let mut stream = self.open_events().await?.bytes_stream();
            let mut text = String::new();
            while let Some(bytes) = stream.next().await {
                text.push_str(std::str::from_utf8(&bytes?)?);
                while let Some((frame, rest)) = text.split_once("\n\n") {
                    steps.extend(step(frame, deployment)?);
                    text = rest.to_owned();
                }
                if steps.last().is_some_and(|step| step.is_final()) {
                    return Ok(());
                }
            }
            bail!("the event stream ended")
        };
        tokio::time::timeout(WITHIN, read)
            .await
            .context("events of the deployment's end")??;
        Ok(steps)
    }

    /// From the first event that is kept.
    async fn open_events(&self) -> Result<reqwest::Response> {
        let ca = reqwest::Certificate::from_pem(self.ca().as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
        let path = format!("/v1/organizations/{}/events", self.organization);
        let token = std::fs::read_to_string(&self.status.admin_token_file)?;
        let request = client
            .build()?
            .get(format!("{}{path}", self.status.api))
            .bearer_auth(token.trim())
            .header("last-event-id", "0");
        Ok(request.send().await?.error_for_status()?)
    }
}

fn step(frame: &str, deployment: &Deployment) -> Result<Option<DeploymentState>> {
    let Some(data) = frame.lines().find_map(|line| line.strip_prefix("data:")) else {
        return Ok(None);
    };
    if !frame.contains("event: deployment.changed") && !frame.contains("event:deployment.changed") {
        return Ok(None);
    }
    let event: Event = serde_json::from_str(data)?;
    if event.subject != deployment.id.to_string() {
        return Ok(None);
    }
    let changed: Changed = serde_json::from_value(event.data)?;
    Ok(Some(changed.state))
}
