//! `edge`: what the edge does with a service's requests before an instance gets them.

mod file;
mod test;

use std::path::PathBuf;

use ::api::service::{Service, UpdateService};
use clap::Subcommand;
use domain::spec::{EdgeSpec, PasswordHash};
use serde_json::json;

use crate::{
    confirm,
    context::Context,
    error::{Error, Result},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Rules: block, redirect, limit and so on
    #[command(subcommand)]
    Rules(Rules),
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Show the service's rules, as `set` takes them
    Get,
    /// Replace the service's rules
    Set {
        /// TOML or JSON with `rules`; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Explain what the rules make of a request; nothing is sent
    Test(Box<test::Arguments>),
    /// Make a long password for a rule with basic_auth, and its hash
    Password,
}

pub async fn run(context: &Context, command: Command) -> Result {
    let Command::Rules(command) = command;
    match command {
        Rules::Get => get(context).await,
        Rules::Set { file } => set(context, &file).await,
        Rules::Test(arguments) => test::run(context, &arguments).await,
        Rules::Password => password(context),
    }
}

async fn service(context: &Context) -> Result<Service> {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    Ok(client.get(&format!("/v1/services/{}", chosen.id)).await?)
}

async fn get(context: &Context) -> Result {
    let service = service(context).await?;
    let edge = &service.spec.edge;
    if edge.is_empty() && !context.output.json {
        let name = &service.name;
        return context.output.note(&format!(
            "{name} has no edge rules: railhead edge rules set FILE"
        ));
    }
    let text = file::write(edge)?;
    context.output.show(edge, || text.trim_end().to_owned())
}

async fn set(context: &Context, path: &std::path::Path) -> Result {
    let edge = file::read(path)?;
    let compiled = file::compile(&edge)?;
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    let path = format!("/v1/services/{}", chosen.id);
    let service = client.get_versioned::<Service>(&path).await?;
    let blocks_all = rules::would_block_everything(&compiled, &service.value.hostnames);
    if blocks_all {
        confirm::destruction(
            context.output,
            "block all requests of",
            &chosen.name,
            "these rules refuse every ordinary request, whoever sends it",
        )?;
    }
    let count = edge.rules.len();
    let mut spec = service.value.spec;
    spec.edge = edge;
    let update = UpdateService {
        spec,
        confirm_block_all: blocks_all,
    };
    let updated: Service = client.patch(&path, &service.etag, &update).await?;
    let plural = if count == 1 { "" } else { "s" };
    context
        .output
        .done(&format!("{} has {count} edge rule{plural}", updated.name))?;
    context
        .output
        .note("they take effect with the next deployment: railhead redeploy")?;
    context.output.record_if_json(&updated.spec.edge)
}

fn password(context: &Context) -> Result {
    let password = hexadecimal(rand::random::<[u8; 24]>());
    let hash = PasswordHash::new(&password, rand::random());
    let value = json!({ "password": password, "hash": hash });
    context
        .output
        .show(&value, || format!("password  {password}\nhash      {hash}"))?;
    context
        .output
        .note("next: users = { NAME = \"<hash>\" } in the rule; the password is shown this once")
}

fn hexadecimal<const N: usize>(bytes: [u8; N]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(reason: &str) -> Error {
    Error::usage(
        format!("these are no edge rules: {reason}"),
        "railhead edge rules get shows what they look like; docs/guide/edge-rules.md explains them",
    )
}

/// The rules that a command is about: of a file, else of the service.
async fn rules_of(context: &Context, given: Option<&std::path::Path>) -> Result<EdgeSpec> {
    match given {
        Some(path) => file::read(path),
        None => Ok(service(context).await?.spec.edge),
    }
}
