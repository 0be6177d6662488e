//! `node remove`: a machine is expelled as a whole, its agent and its edge.

use ::api::{client::Client, node::Node};
use serde_json::json;

use super::machine;
use crate::{confirm, context::Context, error::Result};

pub async fn run(context: &Context, client: &Client, wanted: &str) -> Result {
    let nodes = machine::nodes(client, wanted).await?;
    let name = nodes.first().map_or(wanted, |node| node.name.as_str());
    confirm::destruction(
        context.output,
        &format!("remove the {} of", roles(&nodes)),
        name,
        "certificates are refused from now on, and instances are replaced elsewhere",
    )?;
    for node in &nodes {
        client.delete(&format!("/v1/nodes/{}", node.id)).await?;
        context.output.done(&format!(
            "removed the {} of {name} in {} ({})",
            node.role.as_str(),
            node.region,
            node.id
        ))?;
    }
    let deleted: Vec<_> = nodes.iter().map(|node| node.id).collect();
    context
        .output
        .record_if_json(&json!({ "deleted": deleted }))
}

fn roles(nodes: &[Node]) -> String {
    let roles: Vec<_> = nodes.iter().map(|node| node.role.as_str()).collect();
    roles.join(" and the ")
}
