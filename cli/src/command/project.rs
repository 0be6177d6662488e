//! `project`: the group of environments that hold the same services.

use ::api::project::{CreateProject, Project};
use clap::Subcommand;
use domain::name::Name;
use serde_json::json;

use super::list;
use crate::{confirm, context::Context, error::Result, link, target::Target};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the organization's projects
    List,
    /// Make a project without linking this folder
    New {
        /// Unique in the organization
        name: Name,
    },
    /// Delete a project with everything in it
    Delete {
        /// Name or id
        project: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::List => list::run(context).await,
        Command::New { name } => new(context, name).await,
        Command::Delete { project } => delete(context, &project).await,
    }
}

async fn new(context: &Context, name: Name) -> Result {
    let client = context.client()?;
    let organization = Target::new(context, &client).organization().await?;
    let path = format!("/v1/organizations/{}/projects", organization.id);
    let project: Project = client.post(&path, &CreateProject { name }).await?;
    context.output.done(&format!(
        "made project {} in {}",
        project.name, organization.name
    ))?;
    context.output.show(&project, || project.id.to_string())
}

async fn delete(context: &Context, wanted: &str) -> Result {
    let client = context.client()?;
    let project = Target::new(context, &client).project_named(wanted).await?;
    confirm::destruction(
        context.output,
        "delete the project",
        &project.name,
        "all its environments, services, variables, images and logs go with it",
    )?;
    client
        .delete(&format!("/v1/projects/{}", project.id))
        .await?;
    link::forget(context.link.as_ref(), |link| link.project.id == project.id)?;
    context
        .output
        .done(&format!("deleted project {}", project.name))?;
    context
        .output
        .note("what runs of it ends now; railhead status says how far that is")?;
    context
        .output
        .record_if_json(&json!({ "deleted": project.id }))
}
