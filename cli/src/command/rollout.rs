//! `rollout`: how far a change that the platform makes by itself has come, ring by ring of its edges.
//! For administrators of the platform.

use ::api::rollout::{DecideRollout, Rollout, RolloutEdge, RolloutRing, RolloutState};
use chrono::{DateTime, Utc};
use clap::Subcommand;

use crate::{
    confirm,
    context::Context,
    error::Result,
    output::{Cell, Output, Table, Tone, since},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show where each ring stands and how its edges fare
    Status,
    /// Stop, and take the rings back to the version before
    Stop {
        /// For the audit log
        #[arg(long)]
        reason: String,
    },
    /// Begin again after a stop, with the first ring
    Resume {
        /// For the audit log
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(context: &Context, command: Command) -> Result {
    let client = context.client()?;
    let rollout: Rollout = match command {
        Command::Status => client.get("/v1/rollout").await?,
        Command::Stop { reason } => {
            confirm::question(
                context.output,
                "All edges go back to the version before. Stop?",
            )?;
            client
                .post("/v1/rollout/stop", &DecideRollout { reason })
                .await?
        }
        Command::Resume { reason } => {
            client
                .post("/v1/rollout/resume", &DecideRollout { reason })
                .await?
        }
    };
    context
        .output
        .show(&rollout, || text(context.output, &rollout, Utc::now()))
}

fn text(output: Output, rollout: &Rollout, now: DateTime<Utc>) -> String {
    let state = match rollout.state {
        RolloutState::Done => "is on all edges",
        RolloutState::Running => "goes from ring to ring",
        RolloutState::Stopped => "was stopped",
    };
    let mut lines = vec![format!(
        "version {} {state}, since {}",
        rollout.version,
        since(rollout.since, now)
    )];
    lines.extend(rollout.problem.iter().map(|problem| format!("  {problem}")));
    let edges: Vec<(&RolloutRing, Option<&RolloutEdge>)> =
        rollout.rings.iter().flat_map(rows).collect();
    lines.push(String::new());
    lines.push(output.render(table(&edges, now)));
    lines.join("\n")
}

/// A line per edge; one for a ring without edges.
fn rows(ring: &RolloutRing) -> Vec<(&RolloutRing, Option<&RolloutEdge>)> {
    if ring.edges.is_empty() {
        return vec![(ring, None)];
    }
    ring.edges.iter().map(|edge| (ring, Some(edge))).collect()
}

fn table(rows: &[(&RolloutRing, Option<&RolloutEdge>)], now: DateTime<Utc>) -> Table {
    Table::of(
        &[
            "RING",
            "VERSION",
            "SERVES SINCE",
            "EDGE",
            "STATE",
            "REQUESTS",
            "FAILED",
            "UNKNOWN HOST",
            "ITEMS REFUSED",
        ],
        rows,
        |(ring, edge)| {
            let count = |of: fn(&RolloutEdge) -> i64| {
                edge.map_or_else(String::new, |edge| of(edge).to_string())
            };
            [
                ring.ring.as_str().into(),
                ring.version.to_string().into(),
                ring.soaking_since
                    .map_or_else(String::new, |at| since(at, now))
                    .into(),
                edge.map_or("none", |edge| edge.name.as_str()).into(),
                edge.map_or_else(|| Cell::dim("no edges"), state),
                count(|edge| edge.requests).into(),
                count(|edge| edge.failed).into(),
                count(|edge| edge.unrouted).into(),
                count(|edge| edge.items_refused).into(),
            ]
        },
    )
}

fn state(edge: &RolloutEdge) -> Cell {
    match (edge.late, edge.applied) {
        (true, _) => Cell::new("silent", Tone::Bad),
        (false, false) => Cell::new("applies", Tone::Busy),
        (false, true) => Cell::new("serves", Tone::Good),
    }
}
