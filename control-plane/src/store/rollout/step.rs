//! The steps of a rollout. A program takes one while [`hold`] keeps the rollout as it was seen.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    generation::{Epoch, Position},
    ring::Ring,
};
use protocol::feed::FeedName;
use sqlx::types::Json;

use super::{Progress, Rollout};
use crate::store::{
    Error, feed, route,
    tx::{Access as _, SystemTx, Write},
};

/// Whether nobody has taken a step that changed the rollout since it was seen, in this epoch of the platform; then nobody
/// does before the transaction's end. A replica that slept between what it saw and what it does must not give out what
/// was stopped meanwhile.
pub async fn hold(tx: &mut SystemTx, seen: &Rollout, epoch: Epoch) -> Result<bool, Error> {
    let held: Option<bool> = sqlx::query_scalar(
        "select true from rollout r, platform p
         where r.version = $1 and r.state = $2 and r.since = $3 and r.epoch = $4 and p.epoch = $5 for update of r",
    )
    .bind(seen.version)
    .bind(seen.state.as_str())
    .bind(seen.since)
    .bind(seen.epoch.0)
    .bind(epoch.0)
    .fetch_optional(tx.executor())
    .await?;
    Ok(held.is_some())
}

/// A newer program is there: its version begins its way, from what every ring had. Rings that have an older
/// one that is not through go back first, so that no edge is compared with how it fared by that.
pub async fn start(tx: &mut SystemTx, seen: &Rollout, version: i32) -> Result<(), Error> {
    if seen.state == Progress::Running {
        go_back(tx, seen.version).await?;
    }
    sqlx::query(
        "update rollout set version = $1, state = 'running', problem = null, since = now()
         where version < $1",
    )
    .bind(version)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// An epoch has begun: what edges have applied, and fared by, is of another history. Rings that have a version which is not
/// through go back, and each is rendered, and its edges serve by it, in this epoch before the next turn.
pub async fn begin_anew(tx: &mut SystemTx, seen: &Rollout, epoch: Epoch) -> Result<(), Error> {
    if seen.state == Progress::Running {
        go_back(tx, seen.version).await?;
    }
    sqlx::query("update ring set rendered_at = null, soaking_since = null")
        .execute(tx.executor())
        .await?;
    sqlx::query("update rollout set epoch = $1")
        .bind(epoch.0)
        .execute(tx.executor())
        .await?;
    Ok(())
}

async fn go_back(tx: &mut impl Write, version: i32) -> Result<(), Error> {
    sqlx::query(
        "update ring set version = previous, rendered_at = null, soaking_since = null
         where version = $1 and previous < version",
    )
    .bind(version)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// It is a ring's turn: from the transaction's end on its feeds are written in this version. How its edges have fared by
/// the one that they had is noted, but not of late ones: what those said last may be of another history, in which they
/// had this version.
pub async fn advance(tx: &mut SystemTx, ring: Ring, from: i32, to: i32) -> Result<(), Error> {
    let advanced = sqlx::query(
        "update ring set previous = version, version = $3, rendered_at = null, soaking_since = null
         where name = $1 and version = $2",
    )
    .bind(ring.as_str())
    .bind(from)
    .bind(to)
    .execute(tx.executor())
    .await?;
    if advanced.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query(
        "delete from rollout_edge b using node n where n.id = b.node_id and n.role = 'edge' and n.ring = $1",
    )
    .bind(ring.as_str())
    .execute(tx.executor())
    .await?;
    // Of a process that has started since its ring began to serve so, all counts. Of an edge that came to the ring, or back,
    // after that nothing does.
    sqlx::query(
        "insert into rollout_edge (node_id, boot_id, requests, failed_requests, unrouted_requests, items_refused,
            before_requests, before_failed_requests, before_unrouted_requests)
         select n.id, s.boot_id, s.requests, s.failed_requests, s.unrouted_requests, s.items_refused,
            coalesce(b.requests, 0), coalesce(b.failed_requests, 0), coalesce(b.unrouted_requests, 0)
         from node n join node_status s on s.node_id = n.id
         left join lateral (
            select s.requests - e.requests as requests, s.failed_requests - e.failed_requests as failed_requests,
                s.unrouted_requests - e.unrouted_requests as unrouted_requests
            from ring_edge e where e.node_id = n.id and e.ring = n.ring and e.boot_id = s.boot_id
            union all
            select s.requests, s.failed_requests, s.unrouted_requests
            from ring_edge e where e.node_id = n.id and e.ring = n.ring and e.boot_id <> s.boot_id
         ) b on true
         where n.role = 'edge' and n.ring = $1 and s.late_since is null",
    )
    .bind(ring.as_str())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Every item of the ring's feeds is rendered in this version.
pub async fn rendered(tx: &mut SystemTx, ring: Ring, version: i32) -> Result<(), Error> {
    let mut feeds = vec![FeedName::GlobalRoutes(ring)];
    let regions = route::regions(tx).await?;
    feeds.extend(
        regions
            .into_iter()
            .map(|region| FeedName::RegionRoutes(region, ring)),
    );
    let positions: BTreeMap<FeedName, Position> = feed::positions(tx, &feeds).await?;
    sqlx::query(
        "update ring set rendered_at = now(), positions = $3
         where name = $1 and version = $2 and rendered_at is null",
    )
    .bind(ring.as_str())
    .bind(version)
    .bind(Json(positions))
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// All edges of the ring that are not late serve by its version; nothing changes when its soak time has begun another
/// time than was `seen`.
pub async fn soak(
    tx: &mut SystemTx,
    ring: Ring,
    version: i32,
    seen: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    sqlx::query(
        "update ring set soaking_since = now()
         where name = $1 and version = $2 and rendered_at is not null and soaking_since is not distinct from $3",
    )
    .bind(ring.as_str())
    .bind(version)
    .bind(seen)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// They have said since then what they have counted: until now is of no interest to the next version.
pub async fn count(tx: &mut SystemTx, ring: Ring, version: i32) -> Result<(), Error> {
    let counted = sqlx::query(
        "update ring set counted_at = now()
         where name = $1 and version = $2 and coalesce(counted_at < soaking_since, soaking_since is not null)",
    )
    .bind(ring.as_str())
    .bind(version)
    .execute(tx.executor())
    .await?;
    if counted.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query(
        "delete from ring_edge e using node n where n.id = e.node_id and (e.ring = $1 or n.ring = $1)",
    )
    .bind(ring.as_str())
    .execute(tx.executor())
    .await?;
    sqlx::query(
        "insert into ring_edge (node_id, ring, boot_id, requests, failed_requests, unrouted_requests)
         select n.id, n.ring, s.boot_id, s.requests, s.failed_requests, s.unrouted_requests
         from node n join node_status s on s.node_id = n.id
         where n.role = 'edge' and n.ring = $1 and s.late_since is null",
    )
    .bind(ring.as_str())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// It goes no further, and the rings that have it go back; nothing changes when it is stopped already or
/// at another version.
pub async fn stop(tx: &mut impl Write, version: i32, problem: &str) -> Result<(), Error> {
    let stopped = sqlx::query(
        "update rollout set state = 'stopped', problem = $2, since = now()
         where version = $1 and state <> 'stopped'",
    )
    .bind(version)
    .bind(problem)
    .execute(tx.executor())
    .await?;
    if stopped.rows_affected() == 0 {
        return Ok(());
    }
    go_back(tx, version).await
}

/// A stopped one begins again with the first ring; nothing changes when it is not stopped.
pub async fn resume(tx: &mut impl Write) -> Result<(), Error> {
    sqlx::query(
        "update rollout set state = 'running', problem = null, since = now() where state = 'stopped'",
    )
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Every ring has it.
pub async fn finish(tx: &mut SystemTx, version: i32) -> Result<(), Error> {
    sqlx::query(
        "update rollout set state = 'done', since = now() where version = $1 and state = 'running'",
    )
    .bind(version)
    .execute(tx.executor())
    .await?;
    Ok(())
}
