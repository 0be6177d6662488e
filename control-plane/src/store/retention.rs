//! Rows whose time is over, by a clock of their own: the database's own may be a year ahead for an hour, and what was
//! removed then does not come back with the true time.

use chrono::{DateTime, Utc};

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// The time by which this turn judges what is old: the database's, but no more than an hour after the last turn's.
///
/// With a turn every ten minutes it catches up with a month in five days (docs/adr/0059).
pub async fn turn(tx: &mut SystemTx) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar(
        "update platform set retention_at = least(now(), coalesce(retention_at, now()) + interval '1 hour')
         returning retention_at",
    )
    .fetch_one(tx.executor())
    .await?)
}

/// What is removed at a time, $1, each for itself: what can't be done of one keeps none of the others.
pub const SWEEPS: [Sweep; 8] = [
    Sweep {
        of: "tombstones",
        // A reader from before a removed tombstone gets the full document.
        statements: &[
            "update feed set compacted = greatest(compacted, old.generation) from (
                select feed, max(generation) as generation from feed_tombstone
                where created_at < $1 - interval '30 days' group by feed) old where feed.name = old.feed",
            "delete from feed_tombstone where created_at < $1 - interval '30 days'",
        ],
    },
    Sweep {
        of: "archives",
        statements: &[
            "delete from archive a where created_at < $1 - interval '1 day' and not exists (
                select 1 from build b where b.finished_at is null and b.source ->> 'id' =
                    'arc_' || replace(a.id::text, '-', ''))",
        ],
    },
    Sweep {
        of: "idempotency keys",
        statements: &["delete from idempotency_key where created_at < $1 - interval '1 day'"],
    },
    Sweep {
        of: "events",
        // Ids begin with the time in milliseconds: so none of the younger ones is read, and there may be millions.
        statements: &[
            "delete from event where id in (
                select id from event where at < $1 - interval '30 days' and id < rpad(lpad(to_hex(
                    (extract(epoch from $1 - interval '30 days') * 1000)::bigint + 60000), 12, '0'), 32, '0')::uuid
                order by id limit 100000)",
        ],
    },
    Sweep {
        of: "instances",
        statements: &["delete from instance where stopped_at < $1 - interval '1 day'"],
    },
    Sweep {
        of: "join tokens and sessions",
        statements: &[
            "delete from join_token where expires_at < $1 - interval '7 days'",
            "delete from session where expires_at < $1 - interval '7 days'",
        ],
    },
    Sweep {
        of: "jobs",
        statements: &["delete from job where dead_at < $1 - interval '30 days'"],
    },
    Sweep {
        of: "workflows",
        statements: &["delete from workflow where finished_at < $1 - interval '7 days'"],
    },
];

/// Rows of one kind.
#[derive(Debug)]
pub struct Sweep {
    pub of: &'static str,
    statements: &'static [&'static str],
}

impl Sweep {
    /// Removes what is old at this time; how many.
    pub async fn run(&self, tx: &mut SystemTx, at: DateTime<Utc>) -> Result<u64, Error> {
        let mut removed = 0;
        for statement in self.statements {
            let done = sqlx::query(*statement)
                .bind(at)
                .execute(tx.executor())
                .await?;
            removed += done.rows_affected();
        }
        Ok(removed)
    }
}
