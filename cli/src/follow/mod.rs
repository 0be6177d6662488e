//! Watching a deployment until it ends. Level-triggered: the deployment's whole state is read again
//! and again, so a lost connection or a replaced replica costs a moment and no information.

mod build_log;
mod progress;
mod settle;

use std::time::{Duration, Instant};

use api::{
    client::Client,
    deployment::{Deployment, DeploymentState},
    log::LogRecord,
    service::Service,
};
use serde_json::json;
use tokio::sync::mpsc::Receiver;

use self::{build_log::BuildLog, progress::Progress};
use crate::{
    command::{failed_requests, has_build},
    context::Context,
    error::{Error, Result},
    output::span,
};

pub use self::settle::settle;

const POLL: Duration = Duration::from_millis(500);
/// The platform may be away so long while we watch; the deployment itself goes on without us.
const OUTAGE_MAX: Duration = Duration::from_secs(60);
/// For the last lines of a build that has ended.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Follows a deployment until it is live; any other end is an error.
pub async fn deployment(context: &Context, client: &Client, first: Deployment) -> Result {
    let mut watch = Watch::begin(context, client, first);
    tokio::select! {
        result = watch.until_end() => result?,
        _ = tokio::signal::ctrl_c() => return Err(watch.left_alone()),
    }
    watch.finish().await
}

/// Says that a deployment was begun and how to follow it, for `--detach`.
pub fn detached(context: &Context, deployment: &Deployment) -> Result {
    context
        .output
        .show(deployment, || deployment.id.to_string())?;
    context.output.note(&format!(
        "deployment {} goes on without you: railhead deployment get {} --follow",
        deployment.number, deployment.id
    ))
}

struct Watch<'a> {
    context: &'a Context,
    client: &'a Client,
    deployment: Deployment,
    progress: Progress,
    log: Option<BuildLog>,
    outage: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn begin(context: &'a Context, client: &'a Client, first: Deployment) -> Self {
        let builds = has_build(&first);
        Self {
            log: (builds && !is_built(&first)).then(|| BuildLog::follow(client, &first)),
            progress: Progress::new(context.output),
            outage: None,
            deployment: first,
            context,
            client,
        }
    }

    async fn until_end(&mut self) -> Result {
        let mut ticks = tokio::time::interval(POLL);
        while !self.deployment.state.is_final() {
            tokio::select! {
                _ = ticks.tick() => self.look().await?,
                Some(record) = next(self.log.as_mut().map(|log| &mut log.records)) => self.progress.log(&record)?,
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result {
        let path = format!("/v1/deployments/{}", self.deployment.id);
        match self.client.get(&path).await {
            Ok(deployment) => self.see(deployment).await,
            Err(error) if error.is_transient() && self.outage_is_short() => {
                self.progress.say(format!("{error}; still trying"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn see(&mut self, deployment: Deployment) -> Result {
        self.outage = None;
        self.deployment = deployment;
        if is_built(&self.deployment) {
            self.last_lines().await?;
        }
        self.progress.show(&self.deployment)?;
        if self.deployment.state >= DeploymentState::Placing && !self.deployment.state.is_final() {
            self.look_at_service().await;
        }
        Ok(())
    }

    /// The platform's own words about why it takes time; a nicety, so failures don't matter.
    async fn look_at_service(&mut self) {
        if let Ok(service) = self.service().await {
            self.progress.service(&self.deployment, &service);
        }
    }

    async fn last_lines(&mut self) -> Result {
        let Some(mut log) = self.log.take() else {
            return Ok(());
        };
        log.build_is_over();
        let deadline = tokio::time::Instant::now() + LAST_LINES;
        while let Ok(Some(record)) = tokio::time::timeout_at(deadline, log.records.recv()).await {
            self.progress.log(&record)?;
        }
        Ok(())
    }

    fn outage_is_short(&mut self) -> bool {
        self.outage.get_or_insert_with(Instant::now).elapsed() < OUTAGE_MAX
    }

    const fn left_alone(&self) -> Error {
        Error::Unwatched {
            number: self.deployment.number,
            id: self.deployment.id,
        }
    }

    async fn service(&self) -> std::result::Result<Service, api::client::Error> {
        let path = format!("/v1/services/{}", self.deployment.service_id);
        self.client.get(&path).await
    }

    async fn finish(mut self) -> Result {
        self.last_lines().await?;
        self.progress.show(&self.deployment)?;
        if self.context.output.json {
            let mut record = json!({ "kind": "deployment" });
            merge(&mut record, &self.deployment);
            self.context.output.record(&record)?;
        }
        if self.deployment.state != DeploymentState::Live {
            return Err(unlucky(&self.deployment));
        }
        let service = self.service().await?;
        drop(self.progress);
        arrived(self.context, &self.deployment, &service)
    }
}

fn is_built(deployment: &Deployment) -> bool {
    deployment.state > DeploymentState::Building
}

async fn next(records: Option<&mut Receiver<LogRecord>>) -> Option<LogRecord> {
    match records {
        Some(records) => records.recv().await,
        None => None,
    }
}

fn merge(record: &mut serde_json::Value, deployment: &Deployment) {
    if let (Some(record), Ok(serde_json::Value::Object(fields))) =
        (record.as_object_mut(), serde_json::to_value(deployment))
    {
        record.extend(fields);
    }
}

fn arrived(context: &Context, deployment: &Deployment, service: &Service) -> Result {
    let end = deployment.finished_at.unwrap_or_else(chrono::Utc::now);
    let took = (end - deployment.created_at).to_std().unwrap_or_default();
    context.output.done(&format!(
        "{} is live after {} ({})",
        service.name,
        span(took),
        failed_requests(deployment),
    ))?;
    if let Some(left) = &deployment.error {
        context.output.note(&left.message)?;
    }
    if context.output.json {
        return Ok(());
    }
    // The default hostname only: one line for scripts, and it leads here for certain.
    match service.hostnames.first() {
        Some(hostname) => context.output.print(&format!("https://{hostname}")),
        None => Ok(()),
    }
}

fn unlucky(deployment: &Deployment) -> Error {
    let number = deployment.number;
    let message = match (deployment.state, &deployment.error) {
        (DeploymentState::Canceled, _) => format!("deployment {number} was canceled"),
        (DeploymentState::Superseded, _) => {
            format!("deployment {number} was superseded by a newer one")
        }
        (_, Some(error)) => format!("deployment {number} failed: {}", error.message),
        (_, None) => format!("deployment {number} failed, and no reason was recorded"),
    };
    let before = if number > 1 {
        "what served before serves on; "
    } else {
        ""
    };
    Error::Failed {
        message,
        code: deployment.error.as_ref().map(|error| error.code.clone()),
        advice: format!("{before}{}", next_step(deployment)),
    }
}

/// What to do, where the reason alone says it; else the log that says more.
fn next_step(deployment: &Deployment) -> String {
    let code = deployment.error.as_ref().map(|error| error.code.as_str());
    match code {
        Some("image_runs_as_root") => {
            "name a USER in the Dockerfile, or allow it: railhead service \
             set --set deploy.confinement=baseline"
                .to_owned()
        }
        Some("no_capacity") => {
            "ask for less (railhead scale, railhead service set --cpu --memory), \
             or ask your platform team for more"
                .to_owned()
        }
        _ => {
            let build = if deployment.release_id.is_none() {
                " --build"
            } else {
                ""
            };
            format!("see railhead logs{build} --deployment {}", deployment.id)
        }
    }
}

/// The release that a deployment put in place.
pub fn release_of(deployment: &Deployment) -> Result<domain::id::ReleaseId> {
    deployment.release_id.ok_or_else(|| {
        Error::usage(
            format!(
                "deployment {} never became a release, so nothing can be restored",
                deployment.number
            ),
            "railhead deployment list shows those that were live",
        )
    })
}
