//! Edges as followers of routes: where a service's routes stand, and who has applied a position.

use std::collections::BTreeMap;

use domain::{deployment::acknowledgement::Follower, generation::Position, id::ServiceId};
use protocol::feed::FeedName;

use super::Positions;
use crate::store::{
    Error, feed,
    tx::{Access as _, SystemTx},
};

/// Since when the routes of a service are as they are today.
pub async fn standing(tx: &mut SystemTx, service: ServiceId) -> Result<Positions, Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select item.feed, p.epoch, max(item.generation) from platform p cross join (
            select feed, generation from feed_item where id = $1 and feed like 'routes/region/%'
            union all
            select feed, generation from feed_item where feed like 'routes/global%'
              and ((json::jsonb) ->> 'service_id') = $2 and id like 'hostname/%'
         ) item group by item.feed, p.epoch",
    )
    .bind(crate::feed::route::service_item_id(service))
    .bind(service.to_string())
    .fetch_all(tx.executor())
    .await?;
    feed::positions_of(rows)
}

/// Each edge that follows one of these documents, and whether it has applied the position of it in the
/// ring that it follows.
pub async fn followers(tx: &mut SystemTx, positions: &Positions) -> Result<Vec<Follower>, Error> {
    let mut tiers: BTreeMap<FeedName, Vec<(&FeedName, &Position)>> = BTreeMap::new();
    for (feed, position) in positions {
        tiers.entry(feed.tier()).or_default().push((feed, position));
    }
    let mut followers = Vec::new();
    for (tier, rings) in tiers {
        followers.extend(followers_of(tx, &tier, &rings).await?);
    }
    Ok(followers)
}

async fn followers_of(
    tx: &mut SystemTx,
    tier: &FeedName,
    rings: &[(&FeedName, &Position)],
) -> Result<Vec<Follower>, Error> {
    let region = match tier {
        FeedName::RegionRoutes(region, _) => Some(region.as_str()),
        FeedName::GlobalRoutes(_) | FeedName::Node(_) => None,
    };
    let feeds: Vec<String> = rings.iter().map(|(feed, _)| feed.to_string()).collect();
    let epochs: Vec<i64> = rings.iter().map(|(_, at)| at.epoch.0).collect();
    let generations: Vec<i64> = rings.iter().map(|(_, at)| at.generation.0).collect();
    let rows: Vec<(bool, bool)> = sqlx::query_as(
        "select exists (
                select 1 from node_feed f
                join unnest($1::text[], $2::bigint[], $3::bigint[]) as p (feed, epoch, generation) on p.feed = f.feed
                where f.node_id = n.id and (f.epoch, f.generation) >= (p.epoch, p.generation)),
            s.node_id is null or s.late_since is not null
         from node n join region on region.id = n.region_id
         left join node_status s on s.node_id = n.id
         where n.role = 'edge' and n.denied_at is null and ($4::text is null or region.name = $4)",
    )
    .bind(feeds)
    .bind(epochs)
    .bind(generations)
    .bind(region)
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(applied, late)| Follower { applied, late })
        .collect())
}
