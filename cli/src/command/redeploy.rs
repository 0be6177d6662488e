//! `redeploy`: the image that serves, with today's variables and settings.

use ::api::deployment::{CreateDeployment, Deployment, DeploymentSource};
use clap::Args;

use crate::{context::Context, error::Result, follow, target::Target};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Do not wait until it is live
    #[arg(short, long)]
    detach: bool,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let service = Target::new(context, &client).service().await?;
    current(context, &client, &service.id, arguments.detach).await
}

/// Deploys the current image of a service again.
pub async fn current(
    context: &Context,
    client: &::api::client::Client,
    service_id: &str,
    detach: bool,
) -> Result {
    begin(
        context,
        client,
        service_id,
        Some(DeploymentSource::Current),
        detach,
    )
    .await
}

/// Makes a deployment and follows it, unless the user does not want to wait.
pub async fn begin(
    context: &Context,
    client: &::api::client::Client,
    service_id: &str,
    source: Option<DeploymentSource>,
    detach: bool,
) -> Result {
    let path = format!("/v1/services/{service_id}/deployments");
    let deployment: Deployment = client.post(&path, &CreateDeployment { source }).await?;
    if detach {
        return follow::detached(context, &deployment);
    }
    follow::deployment(context, client, deployment).await
}
