//! Nodes: machines that run agents, and edges.

use api::{
    node::{FenceNode, Node, NodeQuery, NodeRole, OverrideNode, UpdateNode},
    page::Page,
    problem::Code,
};
use domain::id::NodeId;
use protocol::feed::FeedName;
use serde_json::json;

use crate::{
    store::{self, page::Paging, tx::Access},
    waker::Topic,
};

use super::{
    Action, Context, Error, authorize_platform,
    version::{Expected, mismatch},
};

/// All nodes, or those of one region.
///
/// # Errors
/// When not allowed.
pub async fn list(
    context: &Context,
    query: &NodeQuery,
    paging: Paging,
) -> Result<Page<Node>, Error> {
    let grant = authorize_platform(context, Action::NodeList)?;
    let mut tx = grant.read(context).await?;
    Ok(store::node_api::list(&mut tx, query.region.as_ref(), paging).await?)
}

/// One node.
///
/// # Errors
/// When not allowed, or there is none.
pub async fn get(context: &Context, id: NodeId) -> Result<Node, Error> {
    let grant = authorize_platform(context, Action::NodeGet)?;
    found(&mut grant.read(context).await?, id).await
}

/// Cordons a node, empties it, or moves an edge to another ring.
///
/// # Errors
/// When not allowed, there is none, it is no edge but shall have a ring, or the version is another one.
pub async fn update(
    context: &Context,
    id: NodeId,
    expected: Expected,
    request: UpdateNode,
) -> Result<Node, Error> {
    let grant = authorize_platform(context, Action::NodeUpdate)?;
    let mut tx = grant.mutate(context).await?;
    let before = found(&mut tx, id).await?;
    if request.ring.is_some() && before.role == NodeRole::Agent {
        return Err(Error::field("ring", "only an edge has one"));
    }
    if before.fenced && request.schedulable == Some(true) {
        return Err(still_fenced(&before));
    }
    if !store::node_api::update(&mut tx, id, expected.version(), &request).await? {
        return Err(mismatch("node"));
    }
    if request.schedulable == Some(true) || request.draining == Some(false) {
        store::evaluation::revive(&mut tx, true).await?;
    }
    let node = found(&mut tx, id).await?;
    let detail = json!({
        "schedulable": request.schedulable,
        "draining": request.draining,
        "ring": request.ring,
    });
    let entry = context.did_with(grant.action, id, detail);
    context.commit(tx, entry, &[Topic::Evaluations]).await?;
    Ok(node)
}

/// Expels a node: its certificate is refused from now on, and what it ran is replaced elsewhere.
///
/// # Errors
/// When not allowed, or there is none.
pub async fn delete(context: &Context, id: NodeId) -> Result<(), Error> {
    let grant = authorize_platform(context, Action::NodeDelete)?;
    let mut tx = grant.mutate(context).await?;
    if !store::node_api::deny(&mut tx, id).await? {
        return Err(Error::not_found("node", id));
    }
    let entry = context.did(grant.action, id);
    let topics = [Topic::Evaluations, Topic::Routes, Topic::Nodes];
    context.commit(tx, entry, &topics).await
}

/// Lets go the drops that a node's brake holds.
///
/// # Errors
/// When not allowed, there is no such node, or it holds nothing of this feed.
pub async fn override_brake(
    context: &Context,
    id: NodeId,
    request: OverrideNode,
) -> Result<Node, Error> {
    let grant = authorize_platform(context, Action::NodeOverride)?;
    let feed: FeedName = request
        .feed
        .parse()
        .map_err(|e: protocol::feed::UnknownFeed| Error::field("feed", e.to_string()))?;
    check_reason(&request.reason)?;
    let mut tx = grant.mutate(context).await?;
    found(&mut tx, id).await?;
    if !store::node_api::release_held(&mut tx, id, &feed.to_string()).await? {
        return Err(Error::refused(
            Code::Conflict,
            format!("the node's brake holds nothing of {feed}"),
        ));
    }
    let node = found(&mut tx, id).await?;
    let detail = json!({ "feed": request.feed, "reason": request.reason });
    let entry = context.did_with(grant.action, id, detail);
    context.commit(tx, entry, &[Topic::Feeds]).await?;
    Ok(node)
}

/// Declares a silent node dead: what it ran is placed elsewhere at once, also what may never run twice;
/// all other nodes refuse it, and when it comes back it is told to end what it has.
///
/// # Errors
/// When not allowed, there is none, it is an edge, was expelled, or still reports.
pub async fn fence(context: &Context, id: NodeId, request: FenceNode) -> Result<Node, Error> {
    let grant = authorize_platform(context, Action::NodeFence)?;
    check_reason(&request.reason)?;
    let mut tx = grant.mutate(context).await?;
    let before = found(&mut tx, id).await?;
    if !store::fence::fence(&mut tx, id).await? {
        return Err(not_to_be_fenced(&before));
    }
    let node = found(&mut tx, id).await?;
    let detail = json!({ "reason": request.reason });
    let entry = context.did_with(grant.action, id, detail);
    let topics = [
        Topic::Instances,
        Topic::Evaluations,
        Topic::Routes,
        Topic::Nodes,
    ];
    context.commit(tx, entry, &topics).await?;
    Ok(node)
}

fn not_to_be_fenced(node: &Node) -> Error {
    let name = &node.name;
    let why = match (node.role, node.denied) {
        (NodeRole::Edge, _) => {
            format!("{name} is an edge and runs nothing of its own: remove it when it is gone")
        }
        (_, true) => format!("{name} was expelled: what it ran is replaced already"),
        (..) => format!(
            "{name} still reports, so what it runs would run twice: drain it; or switch it off, wait until it is late, and fence it then"
        ),
    };
    Error::refused(Code::Conflict, why)
}

fn still_fenced(node: &Node) -> Error {
    let name = &node.name;
    Error::refused(
        Code::Conflict,
        format!(
            "{name} is fenced until it reports that nothing of before runs there: start it again, or remove it"
        ),
    )
}

fn check_reason(reason: &str) -> Result<(), Error> {
    if reason.trim().is_empty() || reason.len() > 1_000 {
        return Err(Error::field(
            "reason",
            "must say why, in at most 1,000 characters",
        ));
    }
    Ok(())
}

async fn found(tx: &mut impl Access, id: NodeId) -> Result<Node, Error> {
    let found = store::node_api::find(tx, id).await?;
    found.ok_or_else(|| Error::not_found("node", id))
}
