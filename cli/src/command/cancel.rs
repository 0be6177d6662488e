//! `cancel`: ends a deployment that is under way; what served before serves on.

use ::api::{deployment::Deployment, service::Service};
use clap::Args;
use serde_json::json;

use super::deployment;
use crate::{
    context::Context,
    error::{Error, Result},
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
                None => under_way(&client, &chosen.id).await?,
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

async fn under_way(client: &::api::client::Client, service_id: &str) -> Result<String> {
    let service: Service = client.get(&format!("/v1/services/{service_id}")).await?;
    match service.target_deployment_id {
        Some(id) => Ok(id.to_string()),
        None => Err(Error::usage(
            format!("no deployment of {} is under way", service.name),
            "railhead deployment list; to go back to an earlier one: railhead rollback",
        )),
    }
}
