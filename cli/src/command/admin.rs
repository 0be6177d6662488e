//! `admin`: how the platform itself fares. For administrators of the platform.

use ::api::platform::{
    FeedStatus, Finding, NodeHealth, PlatformStatus, ReconcilerStatus, Severity,
};
use chrono::{DateTime, Utc};
use clap::Subcommand;

use crate::{
    context::Context,
    error::{Error, Result},
    output::{Cell, Output, Table, Tone, age, since},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with the platform and what to do; exits with 1 when something is critical
    Doctor,
    /// Show reconcilers, feeds, nodes, and what waits
    Status,
}

pub async fn run(context: &Context, command: Command) -> Result {
    let status: PlatformStatus = context.client()?.get("/v1/platform/status").await?;
    let output = context.output;
    match command {
        Command::Status => output.show(&status, || overview(output, &status)),
        Command::Doctor => {
            output.show(&status.findings, || diagnosis(&status.findings))?;
            match critical(&status.findings) {
                0 => Ok(()),
                found => Err(Error::Failed {
                    message: format!("critical findings: {found}"),
                    code: None,
                    advice: "railhead admin status shows what they were read from".to_owned(),
                }),
            }
        }
    }
}

fn critical(findings: &[Finding]) -> usize {
    let is_critical = |finding: &&Finding| finding.severity == Severity::Critical;
    findings.iter().filter(is_critical).count()
}

fn diagnosis(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "✓ nothing is wrong".to_owned();
    }
    findings.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn text(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Critical => "✗",
        Severity::Warning => "!",
    };
    format!("{mark} {}\n  → {}", finding.message, finding.advice)
}

fn overview(output: Output, status: &PlatformStatus) -> String {
    let backlog = &status.backlog;
    let waits = format!(
        "{} deployments under way, {} jobs wait, {} services without room",
        backlog.deployments, backlog.jobs_due, backlog.services_without_room
    );
    [
        format!(
            "epoch {}, findings: {} (railhead admin doctor)",
            status.epoch,
            status.findings.len()
        ),
        waits,
        String::new(),
        output.render(reconcilers(&status.reconcilers, status.at)),
        String::new(),
        output.render(feeds(&status.feeds, status.at)),
        String::new(),
        output.render(nodes(&status.nodes, status.at)),
    ]
    .join("\n")
}

fn reconcilers(all: &[ReconcilerStatus], now: DateTime<Utc>) -> Table {
    Table::of(
        &["RECONCILER", "LAST SUCCESS", "REPLICA", "LEASE", "ERROR"],
        all,
        |one| {
            [
                one.name.as_str().into(),
                one.succeeded_at
                    .map_or_else(|| "-".to_owned(), |at| since(at, now))
                    .into(),
                short(&one.holder.to_string()).into(),
                lease(one, now).into(),
                Cell::new(
                    one.error.as_deref().unwrap_or("-"),
                    tone(one.error.is_some()),
                ),
            ]
        },
    )
}

/// How long the replica still holds the task; whoever is first then takes it.
fn lease(reconciler: &ReconcilerStatus, now: DateTime<Utc>) -> String {
    match reconciler.lease_expires_at {
        Some(end) if end > now => age(now, end),
        _ => "expired".to_owned(),
    }
}

fn feeds(all: &[FeedStatus], now: DateTime<Utc>) -> Table {
    Table::of(
        &[
            "FEED",
            "GENERATION",
            "ITEMS",
            "CHANGED",
            "FOLLOWERS",
            "BEHIND",
        ],
        all,
        |feed| {
            [
                feed.name.as_str().into(),
                feed.generation.to_string().into(),
                feed.items.to_string().into(),
                since(feed.changed_at, now).into(),
                feed.followers.to_string().into(),
                Cell::new(feed.behind.to_string(), tone(feed.behind > 0)),
            ]
        },
    )
}

fn nodes(all: &[NodeHealth], now: DateTime<Utc>) -> Table {
    Table::of(
        &["NODE", "REGION", "ROLE", "REPORTED", "STATE"],
        all,
        |node| {
            let state = match (node.late_since, node.schedulable) {
                _ if node.fenced => Cell::new("fenced", Tone::Bad),
                (Some(_), _) => Cell::new("late", Tone::Bad),
                _ if node.draining => Cell::new("draining", Tone::Busy),
                (None, false) => Cell::new("cordoned", Tone::Busy),
                (None, true) => Cell::new("ok", Tone::Good),
            };
            [
                node.name.as_str().into(),
                node.region.as_str().into(),
                node.role.as_str().into(),
                node.reported_at
                    .map_or_else(|| "-".to_owned(), |at| since(at, now))
                    .into(),
                state,
            ]
        },
    )
}

fn tone(is_bad: bool) -> Tone {
    if is_bad { Tone::Bad } else { Tone::Plain }
}

/// The end of an id: its beginning is the time, which replicas share.
fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}
