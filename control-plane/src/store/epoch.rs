//! The epoch: raised only when the database's history may have been cut, to a number that no other history
//! of the platform has had or will have, whatever was restored since (`domain::generation::Epoch`).

use domain::generation::{Epoch, Generation, Position};
use protocol::feed::FeedName;

use super::{
    Error,
    tx::{Access as _, SystemTx, Write},
};

/// The epoch after another: the time, as nothing restored has a part of it. Where the clock is behind the
/// last epoch, chance takes its place.
macro_rules! epoch_after {
    ($last:literal) => {
        concat!(
            "greatest(",
            $last,
            " + 1 + floor(random() * 1000000)::bigint, (extract(epoch from clock_timestamp()) * 1000)::bigint)"
        )
    };
}

/// A position that a node, or a replica, has seen and this database has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub feed: String,
    pub position: Position,
}

pub async fn shown(tx: &mut SystemTx) -> Result<Option<Shown>, Error> {
    let row: (Option<i64>, Option<i64>, Option<String>) =
        sqlx::query_as("select shown_epoch, shown_generation, shown_feed from platform")
            .fetch_one(tx.executor())
            .await?;
    Ok(match row {
        (Some(epoch), Some(generation), Some(feed)) => Some(Shown {
            feed,
            position: Position {
                epoch: Epoch(epoch),
                generation: Generation(generation),
            },
        }),
        _ => None,
    })
}

/// Remembers the highest position shown; replicas see it and stop serving feeds.
pub async fn show(tx: &mut SystemTx, feed: &FeedName, position: Position) -> Result<(), Error> {
    sqlx::query(
        "update platform set shown_epoch = $1, shown_generation = $2, shown_feed = $3
         where (coalesce(shown_epoch, -1), coalesce(shown_generation, -1)) < ($1, $2) and epoch <= $1",
    )
    .bind(position.epoch.0)
    .bind(position.generation.0)
    .bind(feed.to_string())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The operator has said that this database is the true one: what it has counts from now on.
pub async fn restored(tx: &mut impl Write) -> Result<Epoch, Error> {
    let epoch = sqlx::query_scalar(concat!(
        "update platform set epoch = ",
        epoch_after!("greatest(epoch, coalesce(shown_epoch, epoch))"),
        ", epoch_since = now(), shown_epoch = null, shown_generation = null, shown_feed = null returning epoch"
    ))
    .fetch_one(tx.executor())
    .await?;
    Ok(Epoch(epoch))
}

/// Compares the cluster's identity and timeline with the stored ones; a change (failover, restore)
/// raises the epoch, unless a node has shown something higher: then an operator decides. Nothing is
/// written, or locked, while they are the same.
pub async fn follow_timeline(tx: &mut SystemTx) -> Result<(), Error> {
    let raised: Option<i64> = sqlx::query_scalar(concat!(
        "with now_is as (
            select (select system_identifier::text from pg_control_system()) as system_identifier,
                   ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer as timeline
         ), before as (select system_identifier from platform)
         update platform p set system_identifier = n.system_identifier, timeline = n.timeline,
            epoch = case when p.system_identifier is null then p.epoch else ",
        epoch_after!("p.epoch"),
        " end,
            epoch_since = case when p.system_identifier is null then p.epoch_since else now() end
         from now_is n, before
         where (p.system_identifier, p.timeline) is distinct from (n.system_identifier, n.timeline)
           and p.shown_epoch is null
         returning case when before.system_identifier is not null then p.epoch end"
    ))
    .fetch_optional(tx.executor())
    .await?
    .flatten();
    if let Some(epoch) = raised {
        tracing::warn!(
            epoch,
            "the database's timeline has changed: a new epoch begins"
        );
    }
    Ok(())
}

/// Whether it is open yet which history counts, or an agent that is there has not applied the epoch's first
/// document: until then, and for two minutes at most, it is not known what it runs without a plan.
pub async fn is_settling(tx: &mut SystemTx) -> Result<bool, Error> {
    follow_timeline(tx).await?;
    Ok(sqlx::query_scalar(
        "select exists (select 1 from platform where shown_epoch is not null) or exists (
            select 1 from platform p, node n join node_status s on s.node_id = n.id
            join node_feed f on f.node_id = n.id and f.feed = 'node/nod_' || replace(n.id::text, '-', '')
            where n.role = 'agent' and n.denied_at is null and s.late_since is null
              and f.epoch < p.epoch and p.epoch_since > now() - interval '2 minutes')",
    )
    .fetch_one(tx.executor())
    .await?)
}
