//! `deployment`: every change of what a service runs, and what became of it.

use ::api::{
    Page,
    client::Client,
    deployment::{Deployment, DeploymentSource},
};
use chrono::{DateTime, Utc};
use clap::Subcommand;

use super::status::{deployment_state, short};
use crate::{
    context::Context,
    error::{Error, Result},
    follow,
    link::Chosen,
    output::{Cell, Table, since, span},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the service's deployments, newest first
    List {
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
        lines: u32,
    },
    /// Show one deployment with its steps
    Get {
        /// Number or id; the newest one when left out
        deployment: Option<String>,
        /// Watch it until it ends
        #[arg(short, long)]
        follow: bool,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    match command {
        Command::List { lines } => list(context, lines).await,
        Command::Get { deployment, follow } => get(context, deployment, follow).await,
    }
}

/// A deployment by its id or, within a service, its number.
pub async fn find(client: &Client, service: &Chosen, wanted: &str) -> Result<Deployment> {
    if wanted.starts_with("dep_") {
        return Ok(client.get(&format!("/v1/deployments/{wanted}")).await?);
    }
    let all: Vec<Deployment> = client
        .list(&format!("/v1/services/{}/deployments", service.id))
        .await?;
    let known: Vec<String> = all
        .iter()
        .take(10)
        .map(|deployment| deployment.number.to_string())
        .collect();
    all.into_iter()
        .find(|deployment| deployment.number.to_string() == wanted.trim_start_matches('#'))
        .ok_or_else(|| Error::NotFound {
            kind: "deployment",
            name: wanted.to_owned(),
            place: service.name.clone(),
            known,
        })
}

async fn list(context: &Context, lines: u32) -> Result {
    let client = context.client()?;
    let service = Target::new(context, &client).service().await?;
    let path = format!("/v1/services/{}/deployments?limit={lines}", service.id);
    let page: Page<Deployment> = client.get(&path).await?;
    let empty = format!(
        "{} was never deployed: railhead up or railhead deploy",
        service.name
    );
    context
        .output
        .list(&page.items, |all| table(all, Utc::now()), &empty)
}

fn table(deployments: &[Deployment], now: DateTime<Utc>) -> Table {
    Table::of(
        &[
            "NUMBER",
            "STATE",
            "WHY",
            "BEGUN",
            "TOOK",
            "FAILED REQUESTS",
            "COMMIT OR ERROR",
            "ID",
        ],
        deployments,
        |deployment| {
            [
                deployment.number.to_string().into(),
                deployment_state(deployment.state),
                deployment.reason.as_str().into(),
                since(deployment.created_at, now).into(),
                took(deployment).into(),
                format!("{} of {}", deployment.failed_requests, deployment.requests).into(),
                remark(deployment).into(),
                Cell::dim(deployment.id.to_string()),
            ]
        },
    )
}

fn took(deployment: &Deployment) -> String {
    deployment.finished_at.map_or_else(String::new, |end| {
        span((end - deployment.created_at).to_std().unwrap_or_default())
    })
}

fn remark(deployment: &Deployment) -> String {
    match (&deployment.error, &deployment.commit, &deployment.source) {
        (Some(error), _, _) => error.code.clone(),
        (None, Some(commit), _) => format!("{} {}", short(&commit.sha), commit.title),
        (None, None, DeploymentSource::Image { image: Some(image) }) => image.clone(),
        (None, None, _) => String::new(),
    }
}

async fn get(context: &Context, wanted: Option<String>, watch: bool) -> Result {
    let client = context.client()?;
    let deployment = match wanted {
        Some(id) if id.starts_with("dep_") => client.get(&format!("/v1/deployments/{id}")).await?,
        wanted => {
            let service = Target::new(context, &client).service().await?;
            match wanted {
                Some(number) => find(&client, &service, &number).await?,
                None => newest(&client, &service).await?,
            }
        }
    };
    if watch {
        return follow::deployment(context, &client, deployment).await;
    }
    context
        .output
        .show(&deployment, || text(context, &deployment))
}

async fn newest(client: &Client, service: &Chosen) -> Result<Deployment> {
    let path = format!("/v1/services/{}/deployments?limit=1", service.id);
    let page: Page<Deployment> = client.get(&path).await?;
    page.items.into_iter().next().ok_or_else(|| {
        Error::usage(
            format!("{} was never deployed", service.name),
            "railhead up or railhead deploy",
        )
    })
}

fn text(context: &Context, deployment: &Deployment) -> String {
    let now = Utc::now();
    let head = context
        .output
        .render(table(std::slice::from_ref(deployment), now));
    let steps = Table::of(&["STEP", "ENTERED"], &deployment.steps, |step| {
        [
            deployment_state(step.state),
            step.at
                .format("%Y-%m-%d %H:%M:%S%.3f UTC")
                .to_string()
                .into(),
        ]
    });
    let error = deployment.error.as_ref().map_or(String::new(), |error| {
        format!("\n\n{}: {}", error.code, error.message)
    });
    format!("{head}\n\n{}{error}", context.output.render(steps))
}
