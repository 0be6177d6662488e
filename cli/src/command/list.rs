//! `list`: the organization's projects.

use ::api::project::Project;
use chrono::Utc;

use crate::{
    context::Context,
    error::Result,
    output::{Cell, Table, since},
    target::Target,
};

pub async fn run(context: &Context) -> Result {
    let client = context.client()?;
    let organization = Target::new(context, &client).organization().await?;
    let path = format!("/v1/organizations/{}/projects", organization.id);
    let projects: Vec<Project> = client.list(&path).await?;
    let empty = format!("{} has no projects yet: railhead init", organization.name);
    context.output.list(&projects, table, &empty)
}

fn table(projects: &[Project]) -> Table {
    Table::of(&["PROJECT", "MADE", "ID"], projects, |project| {
        [
            project.name.as_str().into(),
            since(project.created_at, Utc::now()).into(),
            Cell::dim(project.id.to_string()),
        ]
    })
}
