//! `domain`: hostnames that lead to a service. TLS certificates come by themselves.

use ::api::{
    client::Client,
    domain::{CreateDomain, Domain, DomainKind},
    service::Service,
};
use chrono::Utc;
use clap::Subcommand;
use serde_json::json;

use super::find::{self, Resource};
use crate::{
    confirm,
    context::Context,
    error::{Error, Result},
    link::Chosen,
    output::{Cell, Table, Tone, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the service's hostnames
    List,
    /// Add a hostname of your own
    Add {
        /// www.example.com, or *.example.com
        hostname: String,
    },
    /// Ask whether a hostname leads here and is proven to be yours; exits 1 while it is not
    Check {
        /// Hostname or id
        hostname: String,
    },
    /// Remove a hostname
    Remove {
        /// Hostname or id
        hostname: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    let service = Target::new(context, &client).service().await?;
    match command {
        Command::List => list(context, &client, &service).await,
        Command::Add { hostname } => add(context, &client, &service, hostname).await,
        Command::Check { hostname } => check(context, &client, &service, &hostname).await,
        Command::Remove { hostname } => remove(context, &client, &service, &hostname).await,
    }
}

async fn all(client: &Client, service: &Chosen) -> Result<Vec<Domain>> {
    Ok(client
        .list(&format!("/v1/services/{}/domains", service.id))
        .await?)
}

async fn list(context: &Context, client: &Client, service: &Chosen) -> Result {
    let domains = all(client, service).await?;
    let empty = format!(
        "{} has no hostname: railhead domain add HOSTNAME",
        service.name
    );
    context.output.list(&domains, table, &empty)
}

fn table(domains: &[Domain]) -> Table {
    Table::of(
        &["HOSTNAME", "KIND", "DNS", "PROBLEM", "ID"],
        domains,
        |domain| {
            let kind = match domain.kind {
                DomainKind::Default => "default",
                DomainKind::Custom => "custom",
            };
            [
                domain.hostname.as_str().into(),
                kind.into(),
                dns(domain),
                fault_and_remedy(domain).0.into(),
                Cell::dim(domain.id.to_string()),
            ]
        },
    )
}

/// What is wrong, and which records would do: the platform puts a semicolon between the two.
fn fault_and_remedy(domain: &Domain) -> (&str, &str) {
    let said = domain.last_error.as_deref().unwrap_or_default();
    said.split_once("; ").unwrap_or((said, ""))
}

fn dns(domain: &Domain) -> Cell {
    match domain.verified_at {
        Some(at) => Cell::new(format!("good, seen {}", since(at, Utc::now())), Tone::Good),
        None => Cell::new("not good yet", Tone::Busy),
    }
}

async fn add(context: &Context, client: &Client, service: &Chosen, hostname: String) -> Result {
    let path = format!("/v1/services/{}/domains", service.id);
    let domain: Domain = client.post(&path, &CreateDomain { hostname }).await?;
    let done = match domain.verified_at {
        Some(_) => format!("{} leads to {}", domain.hostname, service.name),
        None => format!("{} is added; it waits for its DNS", domain.hostname),
    };
    context.output.done(&done)?;
    context.output.show(&domain, || domain.id.to_string())?;
    if domain.verified_at.is_some() {
        return Ok(());
    }
    let path = format!("/v1/services/{}", service.id);
    let service: Service = client.get(&path).await?;
    context.output.note(&next_steps(&domain, &service))
}

/// What the owner of the hostname does outside of Railhead.
fn next_steps(domain: &Domain, service: &Service) -> String {
    let hostname = &domain.hostname;
    let above = hostname.strip_prefix("*.").unwrap_or(hostname);
    let target = service.hostnames.first().unwrap_or(hostname);
    format!(
        "next, at your DNS provider, two records:\n  \
         CNAME  {hostname}  {target}\n  \
         TXT    _railhead.{above}  railhead-verification={}\n\
         then: railhead domain check {hostname}",
        service.organization_id
    )
}

async fn check(context: &Context, client: &Client, service: &Chosen, wanted: &str) -> Result {
    let domain = find::by_name_or_id(
        all(client, service).await?,
        "hostname",
        wanted,
        &service.name,
    )?;
    context.output.show(&domain, || {
        context.output.render(table(std::slice::from_ref(&domain)))
    })?;
    match domain.verified_at {
        Some(_) => Ok(()),
        None => Err(not_good(&domain)),
    }
}

fn not_good(domain: &Domain) -> Error {
    let (fault, remedy) = fault_and_remedy(domain);
    let patience = "changes of DNS are seen once the old record's TTL is over";
    Error::Failed {
        message: format!("not good yet: {fault}"),
        code: None,
        advice: if remedy.is_empty() {
            patience.to_owned()
        } else {
            format!("{remedy}; {patience}")
        },
    }
}

async fn remove(context: &Context, client: &Client, service: &Chosen, wanted: &str) -> Result {
    let domain = find::by_name_or_id(
        all(client, service).await?,
        "hostname",
        wanted,
        &service.name,
    )?;
    confirm::destruction(
        context.output,
        "remove the hostname",
        &domain.hostname,
        "requests to it are no longer answered, and others may take it",
    )?;
    client.delete(&format!("/v1/domains/{}", domain.id)).await?;
    context
        .output
        .done(&format!("removed {}", domain.hostname))?;
    context
        .output
        .record_if_json(&json!({ "deleted": domain.id }))
}

impl Resource for Domain {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.hostname.clone()
    }
}
