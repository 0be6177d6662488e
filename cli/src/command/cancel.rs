//! `cancel`: ends a deployment that is under way; what served before serves on.

use ::api::{Page, client::Client, deployment::Deployment};
use clap::Args;
use serde_json::json;

use super::deployment;
use crate::{
    context::Context,
    error::{Error, Result},
    link::Chosen,
    target::Target,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Number or id; the one under way when left out
    deployment: Option<String>,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let id = match arguments.deployment {
        Some(id) if id.starts_with("dep_") => id,
        wanted => {
            let chosen = Target::new(context, &client).service().await?;
            match wanted {
                Some(number) => deployment::find(&client, &chosen, &number)
                    .await?
                    .id
                    .to_string(),
                None => under_way(&client, &chosen).await?,
            }
        }
    };
    let path = format!("/v1/deployments/{id}/cancel");
    let deployment: Deployment = client.post(&path, &json!({})).await?;
    context.output.done(&format!(
        "deployment {} is being canceled; what served before serves on",
        deployment.number
    ))?;
    context.output.record_if_json(&deployment)
}

/// The newest one that has not ended.
async fn under_way(client: &Client, service: &Chosen) -> Result<String> {
    let path = format!("/v1/services/{}/deployments?limit=20", service.id);
    let page: Page<Deployment> = client.get(&path).await?;
    let found = page
        .items
        .iter()
        .find(|deployment| !deployment.state.is_final());
    match found {
        Some(deployment) => Ok(deployment.id.to_string()),
        None => Err(Error::usage(
            format!("no deployment of {} is under way", service.name),
            "railhead deployment list; to go back to an earlier one: railhead rollback",
        )),
    }
}
