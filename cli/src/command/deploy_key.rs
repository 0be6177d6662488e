//! `deploy-key`: SSH keys that builds fetch a project's private repositories with. The private half
//! never leaves the platform.

use ::api::{
    client::Client,
    deploy_key::{CreateDeployKey, DeployKey},
};
use chrono::Utc;
use clap::Subcommand;
use domain::name::Name;
use serde_json::json;

use super::find::{self, Resource};
use crate::{
    confirm,
    context::Context,
    error::Result,
    link::Chosen,
    output::{Cell, Table, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the project's keys
    List,
    /// Make a key; its public half is printed
    Add {
        /// Unique in the project
        name: Name,
    },
    /// Delete a key
    Delete {
        /// Name or id
        key: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    let project = Target::new(context, &client).project().await?;
    match command {
        Command::List => list(context, &client, &project).await,
        Command::Add { name } => add(context, &client, &project, name).await,
        Command::Delete { key } => delete(context, &client, &project, &key).await,
    }
}

async fn all(client: &Client, project: &Chosen) -> Result<Vec<DeployKey>> {
    Ok(client
        .list(&format!("/v1/projects/{}/deploy-keys", project.id))
        .await?)
}

async fn list(context: &Context, client: &Client, project: &Chosen) -> Result {
    let keys = all(client, project).await?;
    let empty = format!(
        "{} has no deploy keys: railhead deploy-key add NAME",
        project.name
    );
    context.output.list(&keys, table, &empty)
}

fn table(keys: &[DeployKey]) -> Table {
    Table::of(&["NAME", "MADE", "PUBLIC KEY", "ID"], keys, |key| {
        [
            key.name.as_str().into(),
            since(key.created_at, Utc::now()).into(),
            key.public_key.trim().into(),
            Cell::dim(key.id.to_string()),
        ]
    })
}

async fn add(context: &Context, client: &Client, project: &Chosen, name: Name) -> Result {
    let path = format!("/v1/projects/{}/deploy-keys", project.id);
    let key: DeployKey = client.post(&path, &CreateDeployKey { name }).await?;
    context
        .output
        .done(&format!("made deploy key {} of {}", key.name, project.name))?;
    context
        .output
        .show(&key, || key.public_key.trim().to_owned())?;
    context
        .output
        .note("next: add it to the repository at your git host, with read access only")
}

async fn delete(context: &Context, client: &Client, project: &Chosen, wanted: &str) -> Result {
    let key = find::by_name_or_id(
        all(client, project).await?,
        "deploy key",
        wanted,
        &project.name,
    )?;
    confirm::destruction(
        context.output,
        "delete the deploy key",
        key.name.as_str(),
        "builds can't fetch the repositories that trust only it",
    )?;
    client
        .delete(&format!("/v1/deploy-keys/{}", key.id))
        .await?;
    context.output.done(&format!(
        "deleted deploy key {}; remove it at your git host too",
        key.name
    ))?;
    context.output.record_if_json(&json!({ "deleted": key.id }))
}

impl Resource for DeployKey {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}
