//! Rows whose time is over.

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// Removes them; how many.
pub async fn sweep(tx: &mut SystemTx) -> Result<u64, Error> {
    let statements = [
        // A reader from before a removed tombstone gets the full document.
        "update feed set compacted = greatest(compacted, old.generation) from (
            select feed, max(generation) as generation from feed_tombstone
            where created_at < now() - interval '30 days' group by feed) old where feed.name = old.feed",
        "delete from feed_tombstone where created_at < now() - interval '30 days'",
        "delete from archive a where created_at < now() - interval '1 day' and not exists (
            select 1 from build b where b.finished_at is null and b.source ->> 'id' =
                'arc_' || replace(a.id::text, '-', ''))",
        "delete from idempotency_key where created_at < now() - interval '1 day'",
        "delete from event where at < now() - interval '30 days'",
        "delete from instance where stopped_at < now() - interval '1 day'",
        "delete from join_token where expires_at < now() - interval '7 days'",
        "delete from job where dead_at < now() - interval '30 days'",
        "delete from workflow where finished_at < now() - interval '7 days'",
    ];
    let mut removed = 0;
    for statement in statements {
        removed += sqlx::query(statement)
            .execute(tx.executor())
            .await?
            .rows_affected();
    }
    Ok(removed)
}
