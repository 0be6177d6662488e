//! `region`: where things can run. For administrators of the platform.

use ::api::{
    client::Client,
    region::{CreateRegion, Region, UpdateRegion},
};
use chrono::Utc;
use clap::Subcommand;
use domain::name::Name;

use super::find::{self, Resource};
use crate::{
    context::Context,
    error::Result,
    output::{Cell, Table, Tone, since},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the regions
    List,
    /// Make a region
    New {
        /// Such as eu-west
        name: Name,
    },
    /// Let new instances be placed in a region
    Enable {
        /// Name or id
        region: String,
    },
    /// Place nothing new in a region; what runs there goes on
    Disable {
        /// Name or id
        region: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    match command {
        Command::List => list(context, &client).await,
        Command::New { name } => new(context, &client, name).await,
        Command::Enable { region } => switch(context, &client, &region, true).await,
        Command::Disable { region } => switch(context, &client, &region, false).await,
    }
}

async fn list(context: &Context, client: &Client) -> Result {
    let regions: Vec<Region> = client.list("/v1/regions").await?;
    context.output.list(
        &regions,
        table,
        "there are no regions yet: railhead region new NAME",
    )
}

fn table(regions: &[Region]) -> Table {
    Table::of(&["REGION", "STATE", "MADE", "ID"], regions, |region| {
        let state = if region.enabled {
            Cell::new("enabled", Tone::Good)
        } else {
            Cell::new("disabled", Tone::Dim)
        };
        [
            region.name.as_str().into(),
            state,
            since(region.created_at, Utc::now()).into(),
            Cell::dim(region.id.to_string()),
        ]
    })
}

async fn new(context: &Context, client: &Client, name: Name) -> Result {
    let region: Region = client.post("/v1/regions", &CreateRegion { name }).await?;
    context
        .output
        .done(&format!("made region {}", region.name))?;
    context.output.show(&region, || region.id.to_string())?;
    context.output.note(&format!(
        "next: railhead node token --region {}",
        region.name
    ))
}

async fn switch(context: &Context, client: &Client, wanted: &str, enabled: bool) -> Result {
    let all: Vec<Region> = client.list("/v1/regions").await?;
    let region = find::by_name_or_id(all, "region", wanted, "this platform")?;
    let etag = format!("\"{}\"", region.version);
    let path = format!("/v1/regions/{}", region.id);
    let region: Region = client
        .patch(&path, &etag, &UpdateRegion { enabled })
        .await?;
    let state = if region.enabled {
        "enabled"
    } else {
        "disabled"
    };
    context
        .output
        .done(&format!("{} is {state}", region.name))?;
    context.output.record_if_json(&region)
}

impl Resource for Region {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}
