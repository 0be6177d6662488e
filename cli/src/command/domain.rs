//! `domain`: hostnames that lead to a service. TLS certificates come by themselves (`cert` for those of one's own).

use ::api::{
    client::Client,
    domain::{CreateDomain, Domain, DomainKind, DomainTls},
    service::Service,
};
use chrono::Utc;
use clap::{Subcommand, ValueEnum};
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
        /// Where its certificate comes from
        #[arg(long, value_name = "KIND", default_value = "automatic")]
        tls: Tls,
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

/// How a hostname gets its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// From the authorities that the platform uses
    Automatic,
    /// From the platform's own authority, for private names
    Internal,
}

impl From<Tls> for DomainTls {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Automatic => Self::Automatic,
            Tls::Internal => Self::Internal,
        }
    }
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    let service = Target::new(context, &client).service().await?;
    match command {
        Command::List => list(context, &client, &service).await,
        Command::Add { hostname, tls } => {
            let wanted = CreateDomain {
                hostname,
                tls: tls.into(),
            };
            add(context, &client, &service, wanted).await
        }
        Command::Check { hostname } => check(context, &client, &service, &hostname).await,
        Command::Remove { hostname } => remove(context, &client, &service, &hostname).await,
    }
}

pub(super) async fn all(client: &Client, service: &Chosen) -> Result<Vec<Domain>> {
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
        &["HOSTNAME", "KIND", "DNS", "CERTIFICATE", "PROBLEM", "ID"],
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
                certificate(domain),
                fault_and_remedy(domain).0.into(),
                Cell::dim(domain.id.to_string()),
            ]
        },
    )
}

/// What is wrong, and what would do: the platform puts a semicolon between the two.
fn fault_and_remedy(domain: &Domain) -> (&str, &str) {
    let order = domain.certificate_order.as_ref();
    let problem = order.and_then(|order| order.problem.as_ref());
    let of_certificate = problem.map(|problem| problem.message.as_str());
    let said = domain
        .last_error
        .as_deref()
        .or(of_certificate)
        .unwrap_or_default();
    said.split_once("; ").unwrap_or((said, ""))
}

/// Until when it is good, or why there is none.
pub(super) fn certificate(domain: &Domain) -> Cell {
    let now = Utc::now();
    if domain.kind == DomainKind::Default {
        return Cell::dim("the platform's");
    }
    let Some(certificate) = &domain.certificate else {
        return match &domain.certificate_order {
            Some(order) if order.step != "waiting" => Cell::new("being issued", Tone::Busy),
            Some(order) if order.problem.is_some() => Cell::new("none yet", Tone::Bad),
            Some(_) => Cell::new("on order", Tone::Busy),
            // Below the platform's domain none is needed.
            None => Cell::dim("-"),
        };
    };
    let days = (certificate.not_after - now).num_days();
    match days {
        ..0 => Cell::new("expired", Tone::Bad),
        0..7 => Cell::new(format!("{days} days left"), Tone::Bad),
        _ => Cell::new(format!("good, {days} days left"), Tone::Good),
    }
}

fn dns(domain: &Domain) -> Cell {
    match domain.verified_at {
        Some(at) => Cell::new(format!("good, seen {}", since(at, Utc::now())), Tone::Good),
        None => Cell::new("not good yet", Tone::Busy),
    }
}

async fn add(context: &Context, client: &Client, service: &Chosen, wanted: CreateDomain) -> Result {
    let path = format!("/v1/services/{}/domains", service.id);
    let domain: Domain = client.post(&path, &wanted).await?;
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
