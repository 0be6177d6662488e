//! `audit`: who did what to which thing, from where, and how it ended.

use std::collections::HashMap;

use ::api::{
    Page,
    api_token::ApiToken,
    audit_event::{AuditEvent, AuditOutcome},
    client::{Client, with_query},
    user::Member,
};
use chrono::{DateTime, Utc};
use clap::Subcommand;

use crate::{
    context::Context,
    error::Result,
    link::Chosen,
    output::{Cell, Table, Tone, since},
    target::Target,
};

/// Items per request of `export`.
const PAGE: &str = "200";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the newest events of the organization
    List {
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        lines: u32,
    },
    /// Write all events, one JSON object per line
    Export,
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    let organization = Target::new(context, &client).organization().await?;
    let path = format!("/v1/organizations/{}/audit-events", organization.id);
    match command {
        Command::List { lines } => {
            let path = with_query(&path, &[("limit", &lines.to_string())]);
            let page: Page<AuditEvent> = client.get(&path).await?;
            let names = names(&client, &organization).await;
            context.output.list(
                &page.items,
                |events| table(events, &names, Utc::now()),
                "nothing was done yet",
            )
        }
        Command::Export => export(context, &client, &path).await,
    }
}

/// Members and one's own tokens by id. Who may not see them sees ids.
async fn names(client: &Client, organization: &Chosen) -> HashMap<String, String> {
    let path = format!("/v1/organizations/{}/users", organization.id);
    let members: Vec<Member> = client.list(&path).await.unwrap_or_default();
    let tokens: Vec<ApiToken> = client.list("/v1/api-tokens").await.unwrap_or_default();
    let members = members
        .into_iter()
        .map(|member| (member.id.to_string(), member.email));
    let tokens = tokens
        .into_iter()
        .map(|token| (token.id.to_string(), format!("token {}", token.name)));
    members.chain(tokens).collect()
}

/// Page by page, so that a long log needs no memory here.
async fn export(context: &Context, client: &Client, path: &str) -> Result {
    let mut next = Some(with_query(path, &[("limit", PAGE)]));
    while let Some(address) = next {
        let page: Page<AuditEvent> = client.get(&address).await?;
        for event in &page.items {
            context.output.record(event)?;
        }
        next = page
            .next_cursor
            .map(|cursor| with_query(path, &[("limit", PAGE), ("cursor", &cursor)]));
    }
    Ok(())
}

fn table(events: &[AuditEvent], names: &HashMap<String, String>, now: DateTime<Utc>) -> Table {
    Table::of(
        &["WHEN", "WHO", "FROM", "ACTION", "ON", "RESULT"],
        events,
        |event| {
            [
                since(event.at, now).into(),
                actor(event, names).into(),
                event.actor_address.clone().unwrap_or_default().into(),
                action(event).into(),
                event.resource.clone().unwrap_or_default().into(),
                result(event),
            ]
        },
    )
}

fn actor(event: &AuditEvent, names: &HashMap<String, String>) -> String {
    match &event.actor_id {
        Some(id) => names.get(id).unwrap_or(id).clone(),
        None => event.actor_kind.clone(),
    }
}

fn action(event: &AuditEvent) -> String {
    match event.occurrences {
        0 | 1 => event.action.clone(),
        times => format!("{} ×{times}", event.action),
    }
}

fn result(event: &AuditEvent) -> Cell {
    let tone = match event.outcome {
        AuditOutcome::Success => Tone::Good,
        AuditOutcome::Failure => Tone::Busy,
        AuditOutcome::Denied => Tone::Bad,
    };
    let code = event
        .error_code
        .as_ref()
        .map_or(String::new(), |code| format!(" ({code})"));
    Cell::new(format!("{}{code}", event.outcome.as_str()), tone)
}
