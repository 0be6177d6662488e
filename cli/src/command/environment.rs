//! `environment`: one running set of a project's services with a private network of its own.

use ::api::environment::{CreateEnvironment, Environment};
use chrono::Utc;
use clap::Subcommand;
use domain::name::Name;
use serde_json::json;

use crate::{
    confirm,
    context::Context,
    error::Result,
    link,
    output::{Cell, Table, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the project's environments
    List,
    /// Make an environment
    New {
        /// Unique in the project
        name: Name,
    },
    /// Delete an environment with everything in it
    Delete {
        /// Name or id
        environment: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::List => list(context).await,
        Command::New { name } => new(context, name).await,
        Command::Delete { environment } => delete(context, &environment).await,
    }
}

async fn list(context: &Context) -> Result {
    let client = context.client()?;
    let project = Target::new(context, &client).project().await?;
    let path = format!("/v1/projects/{}/environments", project.id);
    let environments: Vec<Environment> = client.list(&path).await?;
    let empty = format!(
        "{} has no environments: railhead environment new NAME",
        project.name
    );
    context.output.list(&environments, table, &empty)
}

fn table(environments: &[Environment]) -> Table {
    Table::of(
        &["ENVIRONMENT", "MADE", "ID"],
        environments,
        |environment| {
            [
                environment.name.as_str().into(),
                since(environment.created_at, Utc::now()).into(),
                Cell::dim(environment.id.to_string()),
            ]
        },
    )
}

async fn new(context: &Context, name: Name) -> Result {
    let client = context.client()?;
    let project = Target::new(context, &client).project().await?;
    let path = format!("/v1/projects/{}/environments", project.id);
    let environment: Environment = client.post(&path, &CreateEnvironment { name }).await?;
    context.output.done(&format!(
        "made environment {} in {}",
        environment.name, project.name
    ))?;
    context
        .output
        .show(&environment, || environment.id.to_string())
}

async fn delete(context: &Context, wanted: &str) -> Result {
    let client = context.client()?;
    let target = Target::new(context, &client);
    let project = target.project().await?;
    let environment = target.environment_of(&project, Some(wanted)).await?;
    confirm::destruction(
        context.output,
        "delete the environment",
        &environment.name,
        "all its services, variables, images and logs go with it",
    )?;
    client
        .delete(&format!("/v1/environments/{}", environment.id))
        .await?;
    link::forget(context.link.as_ref(), |link| {
        link.environment.id == environment.id
    })?;
    context.output.done(&format!(
        "deleted environment {} of {}",
        environment.name, project.name
    ))?;
    context
        .output
        .note("what runs of it ends now; railhead status says how far that is")?;
    context
        .output
        .record_if_json(&json!({ "deleted": environment.id }))
}
