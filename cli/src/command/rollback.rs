//! `rollback`: the image, settings, variables and scale of an earlier deployment, as a new one.

use ::api::{
    client::Client,
    deployment::{Deployment, DeploymentSource, DeploymentState},
    service::Service,
};
use chrono::Utc;
use clap::Args;

use super::{deployment, redeploy, status};
use crate::{
    context::Context,
    error::{Error, Result},
    follow::release_of,
    link::Chosen,
    output::since,
    target::Target,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Number or id of the deployment to go back to; the one before the current when left out
    deployment: Option<String>,
    /// Do not wait until it is live
    #[arg(short, long)]
    detach: bool,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    let goal = match &arguments.deployment {
        Some(wanted) => deployment::find(&client, &chosen, wanted).await?,
        None => before_current(&client, &chosen).await?,
    };
    let release_id = release_of(&goal)?;
    context.output.note(&format!(
        "{} goes back to {}",
        chosen.name,
        described(&goal)
    ))?;
    let source = DeploymentSource::Release { release_id };
    redeploy::begin(context, &client, &chosen.id, Some(source), arguments.detach).await
}

async fn before_current(client: &Client, chosen: &Chosen) -> Result<Deployment> {
    let service: Service = client.get(&format!("/v1/services/{}", chosen.id)).await?;
    let all: Vec<Deployment> = client
        .list(&format!("/v1/services/{}/deployments", chosen.id))
        .await?;
    previous(&service, all).ok_or_else(|| {
        Error::usage(
            format!(
                "there is no earlier deployment of {} to go back to",
                chosen.name
            ),
            "railhead deployment list",
        )
    })
}

/// The newest one before the current that was live with another release.
fn previous(service: &Service, newest_first: Vec<Deployment>) -> Option<Deployment> {
    let current = newest_first
        .iter()
        .find(|deployment| Some(deployment.id) == service.current_deployment_id)
        .map(|deployment| (deployment.number, deployment.release_id))?;
    newest_first.into_iter().find(|deployment| {
        deployment.number < current.0
            && deployment.state == DeploymentState::Live
            && deployment.release_id.is_some()
            && deployment.release_id != current.1
    })
}

fn described(goal: &Deployment) -> String {
    let commit = goal.commit.as_ref().map_or(String::new(), |commit| {
        format!(" ({} {})", status::short(&commit.sha), commit.title)
    });
    format!(
        "deployment {}{commit} from {}",
        goal.number,
        since(goal.created_at, Utc::now())
    )
}
