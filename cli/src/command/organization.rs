//! `organization`: the boundary between tenants.

use ::api::organization::{CreateOrganization, Organization};
use chrono::Utc;
use clap::Subcommand;
use domain::name::Name;
use serde_json::json;

use super::find::{self, Resource};
use crate::{
    confirm,
    context::Context,
    error::Result,
    link,
    output::{Cell, Table, since},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the organizations you are a member of
    List,
    /// Make an organization; you become its owner
    New {
        /// Unique on the platform
        name: Name,
    },
    /// Delete an organization that has no projects any more
    Delete {
        /// Name or id
        organization: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    match command {
        Command::List => {
            let all: Vec<Organization> = client.list("/v1/organizations").await?;
            context
                .output
                .list(&all, table, "you are a member of no organization")
        }
        Command::New { name } => {
            let body = CreateOrganization { name };
            let made: Organization = client.post("/v1/organizations", &body).await?;
            context
                .output
                .done(&format!("made organization {}", made.name))?;
            context.output.show(&made, || made.id.to_string())
        }
        Command::Delete { organization } => delete(context, &client, &organization).await,
    }
}

fn table(organizations: &[Organization]) -> Table {
    Table::of(
        &["ORGANIZATION", "MADE", "ID"],
        organizations,
        |organization| {
            [
                organization.name.as_str().into(),
                since(organization.created_at, Utc::now()).into(),
                Cell::dim(organization.id.to_string()),
            ]
        },
    )
}

async fn delete(context: &Context, client: &::api::client::Client, wanted: &str) -> Result {
    let all: Vec<Organization> = client.list("/v1/organizations").await?;
    let found = find::by_name_or_id(all, "organization", wanted, "your organizations")?;
    confirm::destruction(
        context.output,
        "delete the organization",
        found.name.as_str(),
        "its members, tokens and audit log can no longer be reached",
    )?;
    client
        .delete(&format!("/v1/organizations/{}", found.id))
        .await?;
    link::forget(context.link.as_ref(), |link| {
        link.organization.id == found.id.to_string()
    })?;
    context
        .output
        .done(&format!("deleted organization {}", found.name))?;
    context
        .output
        .record_if_json(&json!({ "deleted": found.id }))
}

impl Resource for Organization {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}
