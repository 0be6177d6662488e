//! Which nodes are meant by what was typed: a machine's agent and edge share its name, and each has an id.

use std::collections::BTreeSet;

use ::api::{
    client::Client,
    node::{Node, NodeRole},
};

use crate::error::{Error, Result};

/// The nodes of one machine by its name, the agent first, or one of them by its id.
pub async fn nodes(client: &Client, wanted: &str) -> Result<Vec<Node>> {
    select(client.list("/v1/nodes").await?, wanted)
}

/// The same, and of a machine its agent if it has one.
pub async fn node(client: &Client, wanted: &str) -> Result<Node> {
    preferred(client, wanted, |_| true).await
}

/// The same, and of a machine its edge if it has one.
pub async fn edge(client: &Client, wanted: &str) -> Result<Node> {
    preferred(client, wanted, is_edge).await
}

/// The same, and of a machine the one that follows the feed: its agent and its edge have one name.
pub async fn follower(client: &Client, wanted: &str, feed: &str) -> Result<Node> {
    preferred(client, wanted, |node| follows(node, feed)).await
}

async fn preferred(
    client: &Client,
    wanted: &str,
    is_meant: impl Fn(&Node) -> bool,
) -> Result<Node> {
    let nodes = nodes(client, wanted).await?;
    first(nodes, is_meant).ok_or_else(|| unknown(wanted, []))
}

fn first(mut nodes: Vec<Node>, is_meant: impl Fn(&Node) -> bool) -> Option<Node> {
    nodes.sort_by_key(|node| !is_meant(node));
    nodes.into_iter().next()
}

fn is_edge(node: &Node) -> bool {
    node.role == NodeRole::Edge
}

fn follows(node: &Node, feed: &str) -> bool {
    let told = node.status.as_ref();
    told.is_some_and(|told| told.feeds.contains_key(feed))
}

/// Who was expelled is known by the id only: the name may be another's by now.
fn select(mut all: Vec<Node>, wanted: &str) -> Result<Vec<Node>> {
    all.retain(|node| !node.denied || node.id.to_string() == wanted);
    all.sort_by_key(|node| node.role.as_str());
    let (found, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|node| node.name.as_str() == wanted || node.id.to_string() == wanted);
    let regions: BTreeSet<_> = found.iter().map(|node| node.region.as_str()).collect();
    match regions.len() {
        0 => Err(unknown(wanted, others)),
        1 => Ok(found),
        _ => Err(Error::usage(
            format!(
                "{wanted} is the name of a machine in each of {}",
                Vec::from_iter(regions).join(", ")
            ),
            "name one by its id: railhead node list",
        )),
    }
}

fn unknown(wanted: &str, others: impl IntoIterator<Item = Node>) -> Error {
    let known: BTreeSet<_> = others
        .into_iter()
        .map(|node| node.name.to_string())
        .collect();
    Error::NotFound {
        kind: "node",
        name: wanted.to_owned(),
        place: "this platform".to_owned(),
        known: known.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, region: &str, role: &str, denied: bool) -> Node {
        let id = domain::id::NodeId::new();
        serde_json::from_value(json!({
            "id": id, "name": name, "region": region, "role": role, "denied": denied,
            "schedulable": true, "draining": false, "version": 1,
            "reserved": { "cpu": 0, "memory": 0 },
            "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    fn machine(name: &str, region: &str) -> Vec<Node> {
        ["edge", "agent"]
            .map(|role| node(name, region, role, false))
            .into()
    }

    #[test]
    fn a_name_means_agent_and_edge_and_an_id_one_of_them() {
        let all = machine("rack7", "us-east");
        let edge = all[0].id.to_string();
        let roles = |nodes: Vec<Node>| nodes.iter().map(|node| node.role).collect::<Vec<_>>();
        let by_name = select(all.clone(), "rack7").unwrap();
        assert_eq!(roles(by_name), [NodeRole::Agent, NodeRole::Edge]);
        assert_eq!(roles(select(all, &edge).unwrap()), [NodeRole::Edge]);
    }

    #[test]
    fn of_a_machine_its_edge_is_meant_where_only_an_edge_can_be() {
        let mut all = machine("rack7", "us-east");
        all.reverse();
        assert_eq!(first(all.clone(), is_edge).unwrap().role, NodeRole::Edge);
        all.pop();
        assert_eq!(first(all, is_edge).unwrap().role, NodeRole::Agent);
    }

    #[test]
    fn of_a_machine_the_one_that_follows_the_feed_is_meant() {
        let mut all = machine("rack7", "us-east");
        let routes = json!({ "routes/global": { "epoch": 1, "generation": 2, "held_drops": 3 } });
        let usage = json!({ "cpu": 0, "memory": 0 });
        let told = json!({
            "reported_at": "2026-01-01T00:00:00Z", "binary_version": "1", "capacity": usage,
            "usage": usage, "feeds": routes,
        });
        all[0].status = Some(serde_json::from_value(told).unwrap());
        all.reverse();
        let role = |feed| first(all.clone(), |node| follows(node, feed)).map(|node| node.role);
        assert_eq!(role("routes/global"), Some(NodeRole::Edge));
        assert_eq!(role("node/x"), Some(NodeRole::Agent));
    }

    #[test]
    fn a_name_of_two_machines_means_none() {
        let all = [machine("rack7", "us-east"), machine("rack7", "eu-west")].concat();
        let refused = select(all, "rack7").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "rack7 is the name of a machine in each of eu-west, us-east"
        );
    }

    #[test]
    fn who_was_expelled_is_known_by_the_id_only() {
        let gone = node("rack7", "us-east", "agent", true);
        let id = gone.id.to_string();
        let all = [vec![gone], machine("rack8", "us-east")].concat();
        assert_eq!(select(all.clone(), &id).unwrap()[0].id.to_string(), id);
        let refused = select(all, "rack7").unwrap_err();
        assert!(
            matches!(&refused, Error::NotFound { known, .. } if *known == ["rack8"]),
            "{refused:?}"
        );
    }
}
