//! Makes routes say what the rows say of the platform itself; [`changes`] decides.

use protocol::feed::FeedName;

use protocol::item::ChallengeItem;

use super::{Context, Error, certificates};
use crate::{
    feed::{
        platform_routes::{GLOBAL, REGION, View, changes},
        route::Rings,
    },
    store::{self, certificate_order, feed, ring, route, tx::SystemTx},
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    certificates::ensure(&context.state).await?;
    write(&context).await
}

pub(super) async fn write(context: &Context) -> Result<(), Error> {
    let state = &context.state;
    let mut tx = SystemTx::begin(&state.pools).await?;
    let rings = ring::rings(&mut tx, state.rendering).await?;
    let regions = route::regions(&mut tx).await?;
    let view = View {
        edges: &route::edges(&mut tx).await?,
        agents: &route::agents(&mut tx).await?,
        certificates: &route::certificates(&mut tx).await?,
        challenges: &challenges(&mut tx).await?,
        denied: &route::denied(&mut tx).await?,
        existing: &existing(&mut tx, &rings, &regions).await?,
        denied_to: &route::denied_in_feeds_of_agents(&mut tx).await?,
        regions: &regions,
    };
    let changes = changes(&view, &rings)?;
    let feeds: Vec<FeedName> = changes.keys().cloned().collect();
    let before = feed::positions(&mut tx, &feeds).await?;
    let after = feed::write(&mut tx, changes).await?;
    tx.commit().await?;
    if before != after {
        state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

async fn challenges(tx: &mut SystemTx) -> Result<Vec<ChallengeItem>, store::Error> {
    let ordered = certificate_order::challenges(tx).await?.into_iter();
    let item = ordered.map(|(hostname, challenge)| ChallengeItem {
        hostname,
        token: challenge.token,
        key_authorization: challenge.key_authorization,
    });
    Ok(item.collect())
}

/// The platform's items that routes have now.
async fn existing(
    tx: &mut SystemTx,
    rings: &Rings,
    regions: &[domain::name::Name],
) -> Result<Vec<(FeedName, String)>, store::Error> {
    let mut places = Vec::new();
    for ring in rings.versions.keys() {
        places.extend(GLOBAL.map(|prefix| (FeedName::GlobalRoutes(*ring), prefix)));
        for region in regions {
            let feed = FeedName::RegionRoutes(region.clone(), *ring);
            places.extend(REGION.map(|prefix| (feed.clone(), prefix)));
        }
    }
    let mut existing = Vec::new();
    for (feed, prefix) in places {
        let ids = route::item_ids(tx, &feed, prefix).await?.into_iter();
        existing.extend(ids.map(|id| (feed.clone(), id)));
    }
    Ok(existing)
}
