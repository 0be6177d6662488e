//! The platform's own part of the routes: edges, agents and certificates.

use std::collections::BTreeSet;

use protocol::{
    feed::{DropCause, FeedName, digest::Rendered},
    item::{CertificateItem, GlobalRouteItem, NodeItem, RegionRouteItem},
};

use super::{Context, Error, certificates};
use crate::{
    feed::{
        route::{Changes, put},
        secrets::SecretKey,
    },
    store::{
        self,
        feed::{self, Change},
        route,
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let state = &context.state;
    certificates::ensure(state).await?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    let mut changes = Changes::new();
    global(&mut tx, &mut changes).await?;
    agents(&mut tx, &mut changes).await?;
    denied(&mut tx, &mut changes).await?;
    let feeds: Vec<FeedName> = changes.keys().cloned().collect();
    let before = feed::positions(&mut tx, &feeds).await?;
    let after = feed::write(&mut tx, changes).await?;
    tx.commit().await?;
    if before != after {
        state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

async fn global(tx: &mut SystemTx, changes: &mut Changes) -> Result<(), store::Error> {
    let feed = FeedName::GlobalRoutes;
    let mut wanted = Vec::new();
    for edge in route::edges(tx).await? {
        let id = format!("edge/{}", edge.node_id);
        wanted.push(put(id, &GlobalRouteItem::Edge(edge))?);
    }
    replace(tx, changes, &feed, "edge/", wanted).await?;
    let mut wanted = Vec::new();
    for certificate in route::certificates(tx).await? {
        wanted.push(certificate_change(certificate)?);
    }
    replace(tx, changes, &feed, "certificate/", wanted).await
}

async fn agents(tx: &mut SystemTx, changes: &mut Changes) -> Result<(), store::Error> {
    let agents = route::agents(tx).await?;
    for region in route::regions(tx).await? {
        let here = agents.iter().filter(|(of, _)| *of == region);
        let wanted = here
            .map(|(_, agent)| {
                let id = format!("agent/{}", agent.node_id);
                put(id, &RegionRouteItem::Agent(agent.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        replace(
            tx,
            changes,
            &FeedName::RegionRoutes(region),
            "agent/",
            wanted,
        )
        .await?;
    }
    Ok(())
}

/// Nodes refuse expelled ones by themselves, because certificates don't by expiring.
async fn denied(tx: &mut SystemTx, changes: &mut Changes) -> Result<(), store::Error> {
    let denied = route::denied(tx).await?;
    let wanted = denied
        .iter()
        .map(|item| {
            put(
                format!("denied/{}", item.node_id),
                &GlobalRouteItem::Denied(*item),
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    replace(tx, changes, &FeedName::GlobalRoutes, "denied/", wanted).await?;
    for (_, agent) in route::agents(tx).await? {
        let wanted = denied
            .iter()
            .map(|item| put(format!("denied/{}", item.node_id), &NodeItem::Denied(*item)))
            .collect::<Result<Vec<_>, _>>()?;
        replace(
            tx,
            changes,
            &FeedName::Node(agent.node_id),
            "denied/",
            wanted,
        )
        .await?;
    }
    Ok(())
}

fn certificate_change(certificate: route::Certificate) -> Result<Change, store::Error> {
    let key = SecretKey::Certificate(certificate.id).at(certificate.key_version);
    let id = format!("certificate/{}", certificate.id);
    let item = GlobalRouteItem::Certificate(CertificateItem {
        id: certificate.id,
        names: certificate.names,
        chain: certificate.chain_pem,
        key: key.clone(),
    });
    let item = Rendered::of(&item).map_err(|error| store::Error::corrupt("item", error))?;
    Ok(Change::Put {
        id,
        item,
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
    let stale = stale
        .filter(|id| !keep.contains(id))
        .map(|id| Change::Delete {
            id,
            cause: DropCause::Deletion,
        });
    let all = changes.entry(feed.clone()).or_default();
    all.extend(wanted);
    all.extend(stale);
    Ok(())
}
