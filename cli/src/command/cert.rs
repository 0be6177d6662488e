//! `cert`: certificates of the service's hostnames. They come by themselves; who has one of their own uploads it.

use std::path::PathBuf;

use ::api::{
    client::Client,
    domain::{Domain, DomainTls, SetDomainCertificate},
};
use chrono::Utc;
use clap::Subcommand;

use super::{domain, find};
use crate::{
    confirm,
    context::Context,
    error::Result,
    files,
    link::Chosen,
    output::{Cell, Table, since},
    target::Target,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the certificates of the service's hostnames
    List,
    /// Serve a hostname with a certificate of your own
    Import {
        /// Hostname or id
        hostname: String,
        /// The certificate and those of its issuers, PEM, in this order
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// The private key, PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Go back to a certificate that comes by itself
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
        Command::Import {
            hostname,
            chain,
            key,
        } => {
            let pair = SetDomainCertificate {
                chain: files::read(&chain)?,
                key: files::read(&key)?,
            };
            import(context, &client, &service, &hostname, &pair).await
        }
        Command::Remove { hostname } => remove(context, &client, &service, &hostname).await,
    }
}

async fn list(context: &Context, client: &Client, service: &Chosen) -> Result {
    let domains = domain::all(client, service).await?;
    let empty = format!(
        "{} has no hostname: railhead domain add HOSTNAME",
        service.name
    );
    context.output.list(&domains, table, &empty)
}

fn table(domains: &[Domain]) -> Table {
    Table::of(
        &["HOSTNAME", "CERTIFICATE", "FROM", "RENEWED", "ID"],
        domains,
        |of| {
            [
                of.hostname.as_str().into(),
                domain::certificate(of),
                issuer(of).into(),
                renewal(of),
                Cell::dim(of.id.to_string()),
            ]
        },
    )
}

fn issuer(of: &Domain) -> String {
    match &of.certificate {
        Some(certificate) => {
            let issuer = certificate
                .authority
                .as_ref()
                .unwrap_or(&certificate.issuer);
            issuer.clone()
        }
        None => String::new(),
    }
}

fn renewal(of: &Domain) -> Cell {
    let at = of
        .certificate
        .as_ref()
        .and_then(|certificate| certificate.renew_at);
    match (at, of.tls) {
        (_, DomainTls::Uploaded) => "by you".into(),
        (Some(at), _) => since(at, Utc::now()).into(),
        (None, _) => "".into(),
    }
}

async fn named(client: &Client, service: &Chosen, wanted: &str) -> Result<Domain> {
    let all = domain::all(client, service).await?;
    find::by_name_or_id(all, "hostname", wanted, &service.name)
}

async fn import(
    context: &Context,
    client: &Client,
    service: &Chosen,
    wanted: &str,
    pair: &SetDomainCertificate,
) -> Result {
    let found = named(client, service, wanted).await?;
    let path = format!("/v1/domains/{}/certificate", found.id);
    let set: Domain = client.put(&path, pair).await?;
    let until = set
        .certificate
        .as_ref()
        .map(|c| c.not_after.format("%Y-%m-%d").to_string());
    context.output.done(&format!(
        "{} is served with your certificate; upload the next one before {}",
        set.hostname,
        until.unwrap_or_default()
    ))?;
    context.output.show(&set, || set.id.to_string())
}

async fn remove(context: &Context, client: &Client, service: &Chosen, wanted: &str) -> Result {
    let found = named(client, service, wanted).await?;
    confirm::destruction(
        context.output,
        "remove your certificate of",
        &found.hostname,
        "it serves until another one has come by itself",
    )?;
    client
        .delete(&format!("/v1/domains/{}/certificate", found.id))
        .await?;
    context.output.done(&format!(
        "another certificate of {} is on order",
        found.hostname
    ))
}
