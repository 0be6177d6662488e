//! `down`: stops all instances of a service. The service, its settings and its releases stay.

use ::api::service::Service;
use serde_json::json;

use crate::{confirm, context::Context, error::Result, follow, target::Target};

pub async fn run(context: &Context) -> Result {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    confirm::destruction(
        context.output,
        "stop",
        &chosen.name,
        "its hostnames answer with an error until the next deployment",
    )?;
    let path = format!("/v1/services/{}/down", chosen.id);
    let service: Service = client.post(&path, &json!({})).await?;
    let service = follow::settle(context, &client, service).await?;
    context.output.done(&format!(
        "{} is down; to bring it back: railhead redeploy",
        service.name
    ))?;
    context.output.record_if_json(&service)
}
