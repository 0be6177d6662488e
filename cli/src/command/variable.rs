//! `variable`: of a service, or shared by all services of an environment. A sealed one is used and
//! never shown again. New values reach instances with the next deployment.

mod dotenv;

use std::path::PathBuf;

use ::api::{
    client::Client,
    variable::{SetVariable, Variable},
};
use chrono::Utc;
use clap::{Args, Subcommand};
use domain::name::VariableName;
use serde_json::json;

use super::redeploy;
use crate::{
    context::Context,
    error::{Error, Result},
    files,
    link::Chosen,
    output::{Cell, Table, Tone, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List variables
    List {
        #[command(flatten)]
        scope: Scope,
    },
    /// Set variables: KEY=VALUE; with only KEY the value is read from standard input
    Set {
        /// Such as LOG_LEVEL=info
        #[arg(required = true, value_name = "KEY=VALUE")]
        variables: Vec<String>,
        /// From now on used, never shown
        #[arg(long)]
        sealed: bool,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        then: Then,
    },
    /// Seal variables: from now on used, never shown
    Seal {
        /// Their names
        #[arg(required = true, value_name = "KEY")]
        names: Vec<VariableName>,
        #[command(flatten)]
        scope: Scope,
    },
    /// Delete variables
    Delete {
        /// Their names
        #[arg(required = true, value_name = "KEY")]
        names: Vec<VariableName>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        then: Then,
    },
    /// Set all variables of a file with lines of KEY=VALUE (.env)
    Import {
        /// Such as .env
        file: PathBuf,
        /// From now on used, never shown
        #[arg(long)]
        sealed: bool,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        then: Then,
    },
}

#[derive(Debug, Args)]
pub struct Scope {
    /// The environment's shared variables instead of the service's
    #[arg(long)]
    shared: bool,
}

#[derive(Debug, Args)]
pub struct Then {
    /// Deploy at once, so that they take effect
    #[arg(long, conflicts_with = "shared")]
    deploy: bool,
}

/// Where variables are: a path of the API, and whose they are.
struct Place {
    path: String,
    owner: Chosen,
    shared: bool,
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    match command {
        Command::List { scope } => list(context, &client, &scope).await,
        Command::Set {
            variables,
            sealed,
            scope,
            then,
        } => {
            let variables = variables
                .iter()
                .map(|text| assignment(text))
                .collect::<Result<_>>()?;
            set(context, &client, variables, sealed, &scope, &then).await
        }
        Command::Seal { names, scope } => seal(context, &client, &names, &scope).await,
        Command::Delete { names, scope, then } => {
            delete(context, &client, &names, &scope, &then).await
        }
        Command::Import {
            file,
            sealed,
            scope,
            then,
        } => {
            let variables = dotenv::parse(&files::read(&file)?)
                .map_err(|error| Error::file("understand", file, &error))?;
            set(context, &client, variables, sealed, &scope, &then).await
        }
    }
}

async fn place(context: &Context, client: &Client, scope: &Scope) -> Result<Place> {
    let target = Target::new(context, client);
    let (collection, owner) = if scope.shared {
        ("environments", target.environment().await?)
    } else {
        ("services", target.service().await?)
    };
    Ok(Place {
        path: format!("/v1/{collection}/{}/variables", owner.id),
        owner,
        shared: scope.shared,
    })
}

async fn list(context: &Context, client: &Client, scope: &Scope) -> Result {
    let place = place(context, client, scope).await?;
    let variables: Vec<Variable> = client.list(&place.path).await?;
    let empty = format!(
        "{} has no variables: railhead variable set KEY=VALUE",
        place.owner.name
    );
    context.output.list(&variables, table, &empty)
}

fn table(variables: &[Variable]) -> Table {
    Table::of(&["NAME", "VALUE", "SET"], variables, |variable| {
        let value = match &variable.value {
            Some(value) => Cell::new(shortened(value), Tone::Plain),
            None => Cell::dim("(sealed)"),
        };
        [
            variable.name.as_str().into(),
            value,
            since(variable.updated_at, Utc::now()).into(),
        ]
    })
}

fn shortened(value: &str) -> String {
    const SHOWN: usize = 60;
    let line = value.replace('\n', "↵");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

async fn set(
    context: &Context,
    client: &Client,
    variables: Vec<(VariableName, String)>,
    sealed: bool,
    scope: &Scope,
    then: &Then,
) -> Result {
    let place = place(context, client, scope).await?;
    let mut stored = Vec::new();
    for (name, value) in variables {
        let path = format!("{}/{name}", place.path);
        let variable: Variable = client.put(&path, &SetVariable { value, sealed }).await?;
        context
            .output
            .done(&format!("set {name} of {}", place.owner.name))?;
        stored.push(variable);
    }
    context.output.record_if_json(&stored)?;
    take_effect(context, client, &place, then).await
}

async fn seal(context: &Context, client: &Client, names: &[VariableName], scope: &Scope) -> Result {
    let place = place(context, client, scope).await?;
    for variable in named(client, &place, names).await? {
        // One that is sealed already has no value to send, and needs none.
        if let Some(value) = variable.value.clone() {
            let path = format!("{}/{}", place.path, variable.name);
            let sealed = SetVariable {
                value,
                sealed: true,
            };
            let _: Variable = client.put(&path, &sealed).await?;
        }
        context
            .output
            .done(&format!("sealed {} of {}", variable.name, place.owner.name))?;
    }
    context.output.record_if_json(&json!({ "sealed": names }))
}

async fn delete(
    context: &Context,
    client: &Client,
    names: &[VariableName],
    scope: &Scope,
    then: &Then,
) -> Result {
    let place = place(context, client, scope).await?;
    for variable in named(client, &place, names).await? {
        let path = format!("{}/{}", place.path, variable.name);
        client.delete(&path).await?;
        context.output.done(&format!(
            "deleted {} of {}",
            variable.name, place.owner.name
        ))?;
    }
    context
        .output
        .record_if_json(&json!({ "deleted": names }))?;
    take_effect(context, client, &place, then).await
}

/// The variables with these names, all or none.
async fn named(client: &Client, place: &Place, names: &[VariableName]) -> Result<Vec<Variable>> {
    let all: Vec<Variable> = client.list(&place.path).await?;
    let find = |name: &VariableName| {
        let found = all.iter().find(|variable| variable.name == *name);
        found.cloned().ok_or_else(|| Error::NotFound {
            kind: "variable",
            name: name.to_string(),
            place: place.owner.name.clone(),
            known: all
                .iter()
                .map(|variable| variable.name.to_string())
                .collect(),
        })
    };
    names.iter().map(find).collect()
}

async fn take_effect(context: &Context, client: &Client, place: &Place, then: &Then) -> Result {
    if then.deploy {
        return redeploy::current(context, client, &place.owner.id, false).await;
    }
    context.output.note(if place.shared {
        "it takes effect with the next deployment of each service that uses it"
    } else {
        "it takes effect with the next deployment: railhead redeploy (or --deploy)"
    })
}

/// `KEY=VALUE`, or `KEY` with the value on standard input, where no process list shows it.
fn assignment(text: &str) -> Result<(VariableName, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let value = std::io::read_to_string(std::io::stdin())
                .map_err(|error| Error::file("read", "standard input", &error))?;
            (text, value.strip_suffix('\n').unwrap_or(&value).to_owned())
        }
    };
    let name = name
        .parse()
        .map_err(|error: domain::name::InvalidVariableName| {
            Error::usage(
                format!("\"{name}\": {error}"),
                "railhead variable set KEY=VALUE",
            )
        })?;
    Ok((name, value))
}
