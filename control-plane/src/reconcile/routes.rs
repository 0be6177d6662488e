//! Routes of services: what edges shall know of each, from hostnames and ready instances. An
//! instance that drops out remembers the positions from which on no route leads to it.

use std::{collections::BTreeSet, time::Duration};

use domain::{id::ServiceId, name::Name, ring::Ring, spec::ServiceKind};
use protocol::feed::FeedName;

use super::{Context, Error, Turn};
use crate::{
    feed::route::{Rendering, View, changes},
    store::{
        self, domain_certificate, feed,
        placement::{self, Service},
        ring,
        route::{self, Positions, Routed},
        route_refresh,
        tx::SystemTx,
    },
    waker::Topic,
};

/// Requests that are taken at a turn; more wait for the next one.
const REQUESTS: i64 = 1_000;
/// Services that are looked at again at a turn although nothing is known to have changed.
const SWEPT: i64 = 500;
/// How often that is their turn.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// Looks at the services that something has changed of.
pub(super) async fn run(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let requested = route_refresh::requested(&mut SystemTx::begin(pools).await?, REQUESTS).await?;
    let mut turn = Turn::default();
    for id in requested {
        turn.note(id, answer(&context, id).await)?;
    }
    turn.end()
}

async fn answer(context: &Context, id: ServiceId) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let service = placement::lock_service(&mut tx, id).await?;
    // After the service's row: who adds a hostname has that first too.
    route_refresh::take(&mut tx, id).await?;
    let changed = match &service {
        Some(service) => refresh(&mut tx, context.state.rendering, service).await?,
        None => false,
    };
    tx.commit().await?;
    if changed {
        failpoint::reach("routes-written");
        context.state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

/// Looks at every service in its turn, whatever is known of it: what was written around the requests is
/// found too.
pub(super) async fn sweep(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let mut tx = SystemTx::begin(pools).await?;
    let services = route::services_in_turn(&mut tx, SWEPT, SWEEP).await?;
    drop(tx);
    refresh_each(&context, services).await
}

/// Makes every service's routes say what its rows say.
pub(super) async fn refresh_all(context: &Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let services = route::services(&mut SystemTx::begin(pools).await?).await?;
    refresh_each(context, services).await
}

async fn refresh_each(context: &Context, services: Vec<ServiceId>) -> Result<(), Error> {
    let mut turn = Turn::default();
    for id in services {
        turn.note(id, look_again(context, id).await)?;
    }
    turn.end()
}

async fn look_again(context: &Context, id: ServiceId) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let Some(service) = placement::lock_service(&mut tx, id).await? else {
        return Ok(());
    };
    if refresh(&mut tx, context.state.rendering, &service).await? {
        tx.commit().await?;
        context.state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

/// Whether anything had to be written. The caller holds the service's row.
async fn refresh(
    tx: &mut SystemTx,
    rendering: Rendering,
    service: &Service,
) -> Result<bool, store::Error> {
    let feeds = feeds_of(tx, service).await?;
    let before = feed::positions(tx, &feeds).await?;
    let after = apply(tx, rendering, service).await?;
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
/// stand. A region that it leaves stays in them until it is released. The caller holds the service's row.
pub(crate) async fn apply(
    tx: &mut SystemTx,
    rendering: Rendering,
    service: &Service,
) -> Result<Positions, store::Error> {
    let instances = route::instances(tx, service).await?;
    write(tx, rendering, service, &instances).await
}

/// Likewise, without the instances of this region that shall not stay.
pub(super) async fn release(
    tx: &mut SystemTx,
    rendering: Rendering,
    service: &Service,
    region: &Name,
) -> Result<(), store::Error> {
    let mut instances = route::instances(tx, service).await?;
    instances.retain(|instance| instance.stays || instance.region != *region);
    write(tx, rendering, service, &instances).await.map(drop)
}

async fn write(
    tx: &mut SystemTx,
    rendering: Rendering,
    service: &Service,
    instances: &[Routed],
) -> Result<Positions, store::Error> {
    let release = match service.routed {
        Some(deployment) if !service.deleted => placement::release_of(tx, deployment).await?,
        _ => None,
    };
    let release = release
        .as_ref()
        .filter(|release| release.spec.kind == ServiceKind::Web);
    let hostnames = route::hostnames(tx, service).await?;
    let certificates = domain_certificate::of_service(tx, service.id).await?;
    let existing = route::existing(tx, service.id).await?;
    let view = View {
        service,
        release,
        hostnames: &hostnames,
        certificates: &certificates,
        instances,
        existing: &existing,
    };
    let never_routed = release.is_none() && existing.is_empty();
    let positions = if never_routed {
        Positions::new()
    } else {
        let rings = ring::rings(tx, rendering).await?;
        feed::write(tx, changes(&view, &rings)?).await?
    };
    // Without a release nothing is routed any more: from this position on, and not from a later one at
    // which nothing changes.
    route::mark_unrouted(tx, service.id, &view.routed(), &positions).await?;
    Ok(positions)
}
