//! The platform's own part of the routes: edges, agents and certificates.

use std::collections::BTreeSet;

use domain::ring::Ring;
use protocol::{
    feed::{DropCause, FeedName, digest::Rendered},
    item::{CertificateItem, DeniedItem, GlobalRouteItem, NodeItem, RegionRouteItem},
};

use super::{Context, Error, certificates};
use crate::{
    feed::{
        route::{Changes, Rings, RouteItem},
        secrets::SecretKey,
    },
    store::{
        self,
        feed::{self, Change},
        ring, route,
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    certificates::ensure(&context.state).await?;
    write(&context).await
}

/// Facts are in all rings at once: without them an edge serves wrongly.
pub(super) async fn write(context: &Context) -> Result<(), Error> {
    let state = &context.state;
    let mut tx = SystemTx::begin(&state.pools).await?;
    let rings = ring::rings(&mut tx, state.rendering).await?;
    let mut changes = Changes::new();
    for ring in Ring::ORDER {
        global(&mut tx, &rings, ring, &mut changes).await?;
        agents(&mut tx, &rings, ring, &mut changes).await?;
    }
    denied(&mut tx, &rings, &mut changes).await?;
    let feeds: Vec<FeedName> = changes.keys().cloned().collect();
    let before = feed::positions(&mut tx, &feeds).await?;
    let after = feed::write(&mut tx, changes).await?;
    tx.commit().await?;
    if before != after {
        state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

async fn global(
    tx: &mut SystemTx,
    rings: &Rings,
    ring: Ring,
    changes: &mut Changes,
) -> Result<(), store::Error> {
    let feed = FeedName::GlobalRoutes(ring);
    let mut wanted = Vec::new();
    for edge in route::edges(tx).await? {
        let id = format!("edge/{}", edge.node_id);
        let item = RouteItem::Global(GlobalRouteItem::Edge(edge));
        wanted.push(rings.put(ring, id, &item)?);
    }
    replace(tx, changes, &feed, "edge/", wanted).await?;
    let mut wanted = Vec::new();
    for certificate in route::certificates(tx).await? {
        wanted.push(certificate_change(rings, ring, certificate)?);
    }
    replace(tx, changes, &feed, "certificate/", wanted).await
}

async fn agents(
    tx: &mut SystemTx,
    rings: &Rings,
    ring: Ring,
    changes: &mut Changes,
) -> Result<(), store::Error> {
    let agents = route::agents(tx).await?;
    for region in route::regions(tx).await? {
        let here = agents.iter().filter(|(of, _)| *of == region);
        let wanted = here
            .map(|(_, agent)| {
                let id = format!("agent/{}", agent.node_id);
                let item = RouteItem::Region(RegionRouteItem::Agent(agent.clone()));
                rings.put(ring, id, &item)
            })
            .collect::<Result<Vec<_>, _>>()?;
        replace(
            tx,
            changes,
            &FeedName::RegionRoutes(region, ring),
            "agent/",
            wanted,
        )
        .await?;
    }
    Ok(())
}

/// Nodes refuse expelled ones by themselves, because certificates don't by expiring.
async fn denied(
    tx: &mut SystemTx,
    rings: &Rings,
    changes: &mut Changes,
) -> Result<(), store::Error> {
    let denied = route::denied(tx).await?;
    for ring in Ring::ORDER {
        let wanted = denied
            .iter()
            .map(|item| {
                let route = RouteItem::Global(GlobalRouteItem::Denied(*item));
                rings.put(ring, denied_id(item), &route)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let feed = FeedName::GlobalRoutes(ring);
        replace(tx, changes, &feed, "denied/", wanted).await?;
    }
    denied_to_agents(tx, &denied, changes).await
}

/// Agents are many and have all of it already: only those that have not are written to.
async fn denied_to_agents(
    tx: &mut SystemTx,
    denied: &[DeniedItem],
    changes: &mut Changes,
) -> Result<(), store::Error> {
    let wanted: BTreeSet<String> = denied.iter().map(denied_id).collect();
    for (node, ids) in route::denied_in_feeds_of_agents(tx).await? {
        if ids == wanted {
            continue;
        }
        let puts = denied
            .iter()
            .map(|item| node_put(denied_id(item), &NodeItem::Denied(*item)));
        let of_node = changes.entry(FeedName::Node(node)).or_default();
        of_node.extend(puts.collect::<Result<Vec<_>, _>>()?);
        of_node.extend(deletes(ids.difference(&wanted).cloned()));
    }
    Ok(())
}

fn denied_id(item: &DeniedItem) -> String {
    format!("denied/{}", item.node_id)
}

fn deletes(ids: impl Iterator<Item = String>) -> impl Iterator<Item = Change> {
    ids.map(|id| Change::Delete {
        id,
        cause: DropCause::Deletion,
    })
}

fn node_put(id: String, item: &NodeItem) -> Result<Change, store::Error> {
    let item = Rendered::of(item).map_err(|error| store::Error::corrupt("item", error))?;
    Ok(Change::Put {
        id,
        item,
        secrets: Vec::new(),
    })
}

fn certificate_change(
    rings: &Rings,
    ring: Ring,
    certificate: route::Certificate,
) -> Result<Change, store::Error> {
    let key = SecretKey::Certificate(certificate.id).at(certificate.key_version);
    let id = format!("certificate/{}", certificate.id);
    let item = RouteItem::Global(GlobalRouteItem::Certificate(CertificateItem {
        id: certificate.id,
        names: certificate.names,
        chain: certificate.chain_pem,
        key: key.clone(),
    }));
    Ok(Change::Put {
        id,
        item: rings.render(ring, &item)?,
        secrets: vec![key],
    })
}

/// Puts what is wanted and deletes every other item with the prefix.
async fn replace(
    tx: &mut SystemTx,
    changes: &mut Changes,
    feed: &FeedName,
    prefix: &str,
    wanted: Vec<Change>,
) -> Result<(), store::Error> {
    let keep: BTreeSet<String> = wanted.iter().map(|change| change.id().to_owned()).collect();
    let stale = route::item_ids(tx, feed, prefix).await?.into_iter();
    let stale = stale.filter(|id| !keep.contains(id));
    let all = changes.entry(feed.clone()).or_default();
    all.extend(wanted);
    all.extend(deletes(stale));
    Ok(())
}
