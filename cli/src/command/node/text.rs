//! How nodes are shown to people.

use ::api::node::{Node, NodeResources, NodeRole, NodeStatus};
use chrono::{DateTime, Utc};
use domain::ring::Ring;

use crate::output::{Cell, Output, Table, Tone, since};

/// One line per node.
pub fn table(nodes: &[Node], now: DateTime<Utc>) -> Table {
    Table::of(
        &[
            "NODE", "REGION", "ROLE", "STATE", "SEEN", "CPU", "MEMORY", "VERSION", "ID",
        ],
        nodes,
        |node| {
            let status = node.status.as_ref();
            // Nothing is placed on edges.
            let carries = status.filter(|_| node.role == NodeRole::Agent);
            [
                node.name.as_str().into(),
                node.region.as_str().into(),
                role(node).into(),
                state(node, now),
                status
                    .map_or_else(
                        || "never".to_owned(),
                        |status| since(status.reported_at, now),
                    )
                    .into(),
                carries
                    .map_or_else(String::new, |status| cpu(node.reserved, status))
                    .into(),
                carries
                    .map_or_else(String::new, |status| memory(node.reserved, status))
                    .into(),
                status
                    .map_or_else(String::new, |status| status.binary_version.clone())
                    .into(),
                Cell::dim(node.id.to_string()),
            ]
        },
    )
}

/// Each node with its feeds.
pub fn details(output: Output, nodes: &[Node], now: DateTime<Utc>) -> String {
    let details = nodes.iter().map(|node| detail(output, node, now));
    details.collect::<Vec<_>>().join("\n\n")
}

fn detail(output: Output, node: &Node, now: DateTime<Utc>) -> String {
    let head = output.render(table(std::slice::from_ref(node), now));
    let Some(status) = node
        .status
        .as_ref()
        .filter(|status| !status.feeds.is_empty())
    else {
        return head;
    };
    let feeds: Vec<_> = status.feeds.iter().collect();
    let feeds = Table::of(
        &["FEED", "POSITION", "HELD BY THE BRAKE"],
        &feeds,
        |(name, feed)| {
            let tone = if feed.held_drops > 0 {
                Tone::Bad
            } else {
                Tone::Plain
            };
            [
                name.as_str().into(),
                format!("{}/{}", feed.epoch, feed.generation).into(),
                Cell::new(feed.held_drops.to_string(), tone),
            ]
        },
    );
    format!("{head}\n\n{}", output.render(feeds))
}

/// An edge with its ring, unless that is what all have.
fn role(node: &Node) -> String {
    match node.ring {
        None | Some(Ring::All) => node.role.as_str().to_owned(),
        Some(ring) => format!("{} ({ring})", node.role.as_str()),
    }
}

fn state(node: &Node, now: DateTime<Utc>) -> Cell {
    let late = node.status.as_ref().and_then(|status| status.late_since);
    if node.denied {
        return Cell::new("expelled", Tone::Bad);
    }
    if node.fenced {
        return Cell::new("fenced", Tone::Bad);
    }
    if let Some(since) = late {
        return Cell::new(
            format!("silent for {}", crate::output::age(since, now)),
            Tone::Bad,
        );
    }
    match (node.status.is_some(), node.draining, node.schedulable) {
        (false, _, _) => Cell::new("joined", Tone::Busy),
        (_, true, _) => Cell::new("draining", Tone::Busy),
        (_, _, false) => Cell::new("cordoned", Tone::Dim),
        _ => Cell::new("in service", Tone::Good),
    }
}

fn cpu(reserved: NodeResources, status: &NodeStatus) -> String {
    format!("{} of {}", reserved.cpu, status.capacity.cpu)
}

fn memory(reserved: NodeResources, status: &NodeStatus) -> String {
    format!("{} of {}", reserved.memory, status.capacity.memory)
}
