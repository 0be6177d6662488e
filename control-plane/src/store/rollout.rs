//! The rollout of a new version of rendering: where each ring stands, how its edges fare, and the
//! steps, each taken while [`hold`] keeps the rollout as it was seen.

mod step;

pub use step::{advance, begin_anew, count, finish, hold, rendered, resume, soak, start, stop};

use chrono::{DateTime, Utc};
use domain::{
    generation::{Epoch, Position},
    id::NodeId,
    ring::Ring,
};
use protocol::feed::FeedName;
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{Error, route::Positions, tx::Access};

/// How far the newest version has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    pub version: i32,
    pub state: Progress,
    pub problem: Option<String>,
    pub since: DateTime<Utc>,
    /// What edges acknowledged and counted in the platform's epochs before does not count.
    pub epoch: Epoch,
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Running,
    /// Every ring has it.
    Done,
    /// Something went wrong; until an operator or a newer version decides.
    Stopped,
}

impl Progress {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }

    fn of(word: &str) -> Result<Self, Error> {
        [Self::Running, Self::Done, Self::Stopped]
            .into_iter()
            .find(|progress| progress.as_str() == word)
            .ok_or_else(|| Error::corrupt("state of a rollout", word))
    }
}

/// A ring and its edges.
#[derive(Debug, Clone, PartialEq)]
pub struct RingView {
    pub ring: Ring,
    pub version: i32,
    /// Since when every item is rendered in that version.
    pub rendered_at: Option<DateTime<Utc>>,
    /// Since when its edges serve by it.
    pub soaking_since: Option<DateTime<Utc>>,
    /// When what they had counted soon after that was noted.
    pub counted_at: Option<DateTime<Utc>>,
    pub edges: Vec<EdgeView>,
}

/// An edge of a ring.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeView {
    pub node: NodeId,
    pub name: String,
    pub late: bool,
    /// When it has said last what it has counted.
    pub reported_at: Option<DateTime<Utc>>,
    /// It serves by what its ring was rendered to.
    pub applied: bool,
    /// Its process has started since what it had counted was noted.
    pub restarted: bool,
    /// Since its ring served by what it had, until its turn came; nothing if it was late at either.
    pub before: Counts,
    /// Since then, or since its start.
    pub after: Counts,
}

/// What an edge has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub requests: i64,
    pub failed: i64,
    pub unrouted: i64,
    /// Not a count but how many there are at the end of the time.
    pub items_refused: i64,
}

impl Counts {
    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            failed: self.failed - before.failed,
            unrouted: self.unrouted - before.unrouted,
            items_refused: self.items_refused,
        }
    }
}

pub async fn find(tx: &mut impl Access) -> Result<Rollout, Error> {
    type Row = (i32, String, Option<String>, DateTime<Utc>, i64);
    let (version, state, problem, since, epoch): Row =
        sqlx::query_as("select version, state, problem, since, epoch from rollout")
            .fetch_one(tx.executor())
            .await?;
    Ok(Rollout {
        version,
        state: Progress::of(&state)?,
        problem,
        since,
        epoch: Epoch(epoch),
    })
}

/// All rings, in the order of the rollout.
pub async fn rings(tx: &mut impl Access) -> Result<Vec<RingView>, Error> {
    type Row = (
        String,
        i32,
        Option<DateTime<Utc>>,
        Json<Positions>,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "select name, version, rendered_at, positions, soaking_since,
                case when counted_at >= soaking_since then counted_at end
             from ring",
    )
    .fetch_all(tx.executor())
    .await?;
    let mut rings = Vec::new();
    for (name, version, rendered_at, Json(positions), soaking_since, counted_at) in rows {
        let ring = name.parse().map_err(|e| Error::corrupt("ring", e))?;
        rings.push(RingView {
            ring,
            version,
            rendered_at,
            soaking_since,
            counted_at,
            edges: edges(tx, ring, &positions).await?,
        });
    }
    rings.sort_by_key(|view: &RingView| view.ring);
    Ok(rings)
}

#[derive(FromRow)]
struct EdgeRow {
    id: Uuid,
    name: String,
    region: String,
    late: bool,
    reported_at: Option<DateTime<Utc>>,
    same_boot: bool,
    restarted: bool,
    requests: i64,
    failed_requests: i64,
    unrouted_requests: i64,
    items_refused: i64,
    counted_requests: i64,
    counted_failed_requests: i64,
    counted_unrouted_requests: i64,
    before_requests: i64,
    before_failed_requests: i64,
    before_unrouted_requests: i64,
    before_items_refused: i64,
}

async fn edges(
    tx: &mut impl Access,
    ring: Ring,
    positions: &Positions,
) -> Result<Vec<EdgeView>, Error> {
    let rows: Vec<EdgeRow> = sqlx::query_as(
        "select n.id, n.name, region.name as region, s.node_id is null or s.late_since is not null as late,
            s.reported_at,
            coalesce(b.boot_id = s.boot_id, false) as same_boot,
            coalesce(e.boot_id <> s.boot_id, false) as restarted,
            coalesce(s.requests, 0) as requests, coalesce(s.failed_requests, 0) as failed_requests,
            coalesce(s.unrouted_requests, 0) as unrouted_requests, coalesce(s.items_refused, 0) as items_refused,
            coalesce(b.requests, 0) as counted_requests, coalesce(b.failed_requests, 0) as counted_failed_requests,
            coalesce(b.unrouted_requests, 0) as counted_unrouted_requests,
            coalesce(b.before_requests, 0) as before_requests,
            coalesce(b.before_failed_requests, 0) as before_failed_requests,
            coalesce(b.before_unrouted_requests, 0) as before_unrouted_requests,
            coalesce(b.items_refused, 0) as before_items_refused
         from node n join region on region.id = n.region_id
         left join node_status s on s.node_id = n.id left join rollout_edge b on b.node_id = n.id
         left join ring_edge e on e.node_id = n.id and e.ring = n.ring
         where n.role = 'edge' and n.denied_at is null and n.ring = $1 order by n.id",
    )
    .bind(ring.as_str())
    .fetch_all(tx.executor())
    .await?;
    let mut edges = Vec::new();
    for row in rows {
        let applied = applied(tx, row.id, &row.region, positions).await?;
        edges.push(row.view(applied));
    }
    Ok(edges)
}

impl EdgeRow {
    fn view(self, applied: bool) -> EdgeView {
        let before = Counts {
            requests: self.before_requests,
            failed: self.before_failed_requests,
            unrouted: self.before_unrouted_requests,
            items_refused: self.before_items_refused,
        };
        let now = Counts {
            requests: self.requests,
            failed: self.failed_requests,
            unrouted: self.unrouted_requests,
            items_refused: self.items_refused,
        };
        // A process that has started since its ring's turn came counts from nothing.
        let counted = if self.same_boot {
            Counts {
                requests: self.counted_requests,
                failed: self.counted_failed_requests,
                unrouted: self.counted_unrouted_requests,
                items_refused: 0,
            }
        } else {
            Counts::default()
        };
        EdgeView {
            node: self.id.into(),
            name: self.name,
            late: self.late,
            reported_at: self.reported_at,
            applied,
            restarted: self.restarted,
            before,
            after: now.since(counted),
        }
    }
}

/// Whether an edge has applied its feeds up to these positions.
async fn applied(
    tx: &mut impl Access,
    edge: Uuid,
    region: &str,
    positions: &Positions,
) -> Result<bool, Error> {
    let own: Vec<(String, Position)> = positions
        .iter()
        .filter(|(feed, _)| match feed {
            FeedName::RegionRoutes(of, _) => of.as_str() == region,
            FeedName::GlobalRoutes(_) | FeedName::Node(_) => true,
        })
        .map(|(feed, position)| (feed.to_string(), *position))
        .collect();
    let feeds: Vec<&str> = own.iter().map(|(feed, _)| feed.as_str()).collect();
    let epochs: Vec<i64> = own.iter().map(|(_, position)| position.epoch.0).collect();
    let generations: Vec<i64> = own.iter().map(|(_, p)| p.generation.0).collect();
    Ok(sqlx::query_scalar(
        "select not exists (
            select 1 from unnest($2::text[], $3::bigint[], $4::bigint[]) as p (feed, epoch, generation)
            left join node_feed f on f.node_id = $1 and f.feed = p.feed
            where coalesce((f.epoch, f.generation) < (p.epoch, p.generation), true))",
    )
    .bind(edge)
    .bind(feeds)
    .bind(epochs)
    .bind(generations)
    .fetch_one(tx.executor())
    .await?)
}

/// The database's time.
pub async fn now(tx: &mut impl Access) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar("select now()")
        .fetch_one(tx.executor())
        .await?)
}
