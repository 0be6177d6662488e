//! Routes of services: what edges shall know of each, from hostnames and ready instances. An
//! instance that drops out remembers the positions from which on no route leads to it.

use domain::{id::ServiceId, spec::ServiceKind};

use super::{Context, Error};
use crate::{
    feed::route::{View, changes},
    store::{
        self, feed,
        placement::{self, Service},
        route::{self, Positions},
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let services = route::services(&mut SystemTx::begin(pools).await?).await?;
    for id in services {
        let mut tx = SystemTx::begin(pools).await?;
        if refresh(&mut tx, id).await? {
            tx.commit().await?;
            context.state.waker.wake(Topic::Feeds);
        }
    }
    Ok(())
}

/// Whether anything had to be written.
async fn refresh(tx: &mut SystemTx, id: ServiceId) -> Result<bool, store::Error> {
    let Some(service) = placement::lock_service(tx, id).await? else {
        return Ok(false);
    };
    let feeds = feeds_of(tx, &service).await?;
    let before = feed::positions(tx, &feeds).await?;
    let after = apply(tx, &service).await?;
    Ok(after
        .iter()
        .any(|(feed, position)| before.get(feed) != Some(position)))
}

async fn feeds_of(
    tx: &mut SystemTx,
    service: &Service,
) -> Result<Vec<protocol::feed::FeedName>, store::Error> {
    let (mut feeds, _) = route::existing(tx, service.id).await?;
    feeds.push(protocol::feed::FeedName::GlobalRoutes);
    Ok(feeds)
}

/// Writes a service's routes; answers where the feeds that it has or had a part in now stand. The
/// caller holds the service's row.
pub(super) async fn apply(tx: &mut SystemTx, service: &Service) -> Result<Positions, store::Error> {
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
    let never_routed = release.is_none() && existing.0.is_empty() && existing.1.is_empty();
    let positions = if never_routed {
        Positions::new()
    } else {
        let view = View {
            service,
            release,
            hostnames: &hostnames,
            instances: &instances,
            existing: &existing,
        };
        feed::write(tx, changes(&view)?).await?
    };
    let routed: Vec<_> = instances.iter().map(|routed| routed.instance).collect();
    route::mark_unrouted(tx, service.id, &routed, &positions).await?;
    Ok(positions)
}
