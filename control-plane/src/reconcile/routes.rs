//! Routes of services: what edges shall know of each, from hostnames and ready instances. An
//! instance that drops out remembers the positions from which on no route leads to it.

use std::collections::BTreeSet;

use domain::{id::ServiceId, ring::Ring, spec::ServiceKind};
use protocol::feed::FeedName;

use super::{Context, Error};
use crate::{
    feed::route::{Rendering, View, changes},
    store::{
        self, feed,
        placement::{self, Service},
        ring,
        route::{self, Positions},
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    refresh_all(&context).await
}

/// Makes every service's routes say what its rows say.
pub(super) async fn refresh_all(context: &Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let services = route::services(&mut SystemTx::begin(pools).await?).await?;
    for id in services {
        let mut tx = SystemTx::begin(pools).await?;
        if refresh(&mut tx, context.state.rendering, id).await? {
            tx.commit().await?;
            context.state.waker.wake(Topic::Feeds);
        }
    }
    Ok(())
}

/// Whether anything had to be written.
async fn refresh(
    tx: &mut SystemTx,
    rendering: Rendering,
    id: ServiceId,
) -> Result<bool, store::Error> {
    let Some(service) = placement::lock_service(tx, id).await? else {
        return Ok(false);
    };
    let feeds = feeds_of(tx, &service).await?;
    let before = feed::positions(tx, &feeds).await?;
    let after = apply(tx, rendering, &service).await?;
    Ok(after
        .iter()
        .any(|(feed, position)| before.get(feed) != Some(position)))
}

async fn feeds_of(tx: &mut SystemTx, service: &Service) -> Result<Vec<FeedName>, store::Error> {
    let existing = route::existing(tx, service.id).await?;
    let mut feeds: BTreeSet<FeedName> = existing.into_iter().map(|(feed, _)| feed).collect();
    feeds.extend(Ring::ORDER.map(FeedName::GlobalRoutes));
    Ok(feeds.into_iter().collect())
}

/// Writes a service's routes, in all rings; answers where the feeds that it has or had a part in now
/// stand. The caller holds the service's row.
pub(crate) async fn apply(
    tx: &mut SystemTx,
    rendering: Rendering,
    service: &Service,
) -> Result<Positions, store::Error> {
    let release = match service.routed {
        Some(deployment) if !service.deleted => placement::release_of(tx, deployment).await?,
        _ => None,
    };
    let release = release
        .as_ref()
        .filter(|release| release.spec.kind == ServiceKind::Web);
    let hostnames = route::hostnames(tx, service).await?;
    let instances = route::instances(tx, service).await?;
    let existing = route::existing(tx, service.id).await?;
    let never_routed = release.is_none() && existing.is_empty();
    let positions = if never_routed {
        Positions::new()
    } else {
        let rings = ring::rings(tx, rendering).await?;
        let view = View {
            service,
            release,
            hostnames: &hostnames,
            instances: &instances,
            existing: &existing,
        };
        feed::write(tx, changes(&view, &rings)?).await?
    };
    // Without a release nothing is routed any more, whatever the rows still say: from this position
    // on, and not from a later one at which nothing changes.
    let routed = instances.iter().filter(|_| release.is_some());
    let routed: Vec<_> = routed.map(|routed| routed.instance).collect();
    route::mark_unrouted(tx, service.id, &routed, &positions).await?;
    Ok(positions)
}
