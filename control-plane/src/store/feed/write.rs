//! Changing feeds.

use std::collections::{BTreeMap, BTreeSet};

use domain::generation::{Generation, Position};
use protocol::feed::{
    DropCause, FeedName, SecretRef,
    digest::{BUCKETS, Rendered, Sha, bucket_digest, bucket_of, document_digest},
};
use sqlx::types::Json;

use super::{Error, current_epoch};
use crate::store::tx::{Access as _, SystemTx};

/// A change of one item.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds or replaces it; nothing happens when it is the same.
    Put {
        id: String,
        item: Rendered,
        secrets: Vec<SecretRef>,
    },
    /// Removes it; nothing happens when it is not there.
    Delete { id: String, cause: DropCause },
    /// Tells a node that it may let go of what it keeps although no document has it.
    LetGo { id: String, cause: DropCause },
}

impl Change {
    /// The item's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Put { id, .. } | Self::Delete { id, .. } | Self::LetGo { id, .. } => id,
        }
    }
}

/// Changes feeds; answers where each now stands, changed or not. Feeds are locked in the order of
/// their names, so that two writers can't wait for each other.
pub async fn write(
    tx: &mut SystemTx,
    changes: BTreeMap<FeedName, Vec<Change>>,
) -> Result<BTreeMap<FeedName, Position>, Error> {
    let epoch = current_epoch(tx).await?;
    let mut positions = BTreeMap::new();
    let mut ordered: Vec<_> = changes.into_iter().collect();
    ordered.sort_by_key(|(feed, _)| feed.to_string());
    for (feed, changes) in ordered {
        let generation = write_one(tx, &feed.to_string(), changes).await?;
        positions.insert(feed, Position { epoch, generation });
    }
    Ok(positions)
}

async fn write_one(
    tx: &mut SystemTx,
    feed: &str,
    changes: Vec<Change>,
) -> Result<Generation, Error> {
    let Locked {
        generation,
        count,
        buckets,
    } = lock(tx, feed).await?;
    let (changes, growth) = effective(tx, feed, changes).await?;
    if changes.is_empty() {
        return Ok(Generation(generation));
    }
    let next = generation + 1;
    let touched: BTreeSet<i16> = changes.iter().map(|c| bucket_of(c.id()).into()).collect();
    for change in changes {
        match change {
            Change::Put { id, item, secrets } => put(tx, feed, next, &id, &item, secrets).await?,
            Change::Delete { id, cause } | Change::LetGo { id, cause } => {
                delete(tx, feed, next, &id, cause).await?;
            }
        }
    }
    let buckets = rehash(tx, feed, buckets, &touched).await?;
    sqlx::query(
        "update feed set generation = $2, digest = $3, buckets = $4, count = $5, updated_at = now()
         where name = $1",
    )
    .bind(feed)
    .bind(next)
    .bind(document_digest(&buckets))
    .bind(buckets.as_flattened())
    .bind(count + growth)
    .execute(tx.executor())
    .await?;
    Ok(Generation(next))
}

/// A feed's row while nobody else changes it.
struct Locked {
    generation: i64,
    count: i64,
    buckets: Box<[Sha; BUCKETS]>,
}

/// Takes the feed's row until the transaction's end; makes it if need be.
async fn lock(tx: &mut SystemTx, feed: &str) -> Result<Locked, Error> {
    let (generation, count, stored) = match locked_row(tx, feed).await? {
        Some(row) => row,
        None => {
            super::read::make(tx, feed).await?;
            let row = locked_row(tx, feed).await?;
            row.ok_or_else(|| Error::corrupt("feed", feed))?
        }
    };
    let mut buckets = Box::new([bucket_digest([]); BUCKETS]);
    for (bucket, bytes) in buckets.iter_mut().zip(stored.chunks_exact(32)) {
        bucket.copy_from_slice(bytes);
    }
    Ok(Locked {
        generation,
        count,
        buckets,
    })
}

async fn locked_row(tx: &mut SystemTx, feed: &str) -> Result<Option<(i64, i64, Vec<u8>)>, Error> {
    let locked = "select generation, count, buckets from feed where name = $1 for update";
    Ok(sqlx::query_as(locked)
        .bind(feed)
        .fetch_optional(tx.executor())
        .await?)
}

/// The changes that change something, and how many items more there are by them; the last one of an id
/// counts.
async fn effective(
    tx: &mut SystemTx,
    feed: &str,
    changes: Vec<Change>,
) -> Result<(Vec<Change>, i64), Error> {
    let mut last: BTreeMap<String, Change> = BTreeMap::new();
    for change in changes {
        last.insert(change.id().to_owned(), change);
    }
    let ids: Vec<&str> = last.keys().map(String::as_str).collect();
    let stored: Vec<(String, Vec<u8>)> =
        sqlx::query_as("select id, sha256 from feed_item where feed = $1 and id = any($2)")
            .bind(feed)
            .bind(&ids)
            .fetch_all(tx.executor())
            .await?;
    let stored: BTreeMap<String, Vec<u8>> = stored.into_iter().collect();
    let changes: Vec<Change> = last
        .into_values()
        .filter(|change| match (change, stored.get(change.id())) {
            (Change::Put { item, .. }, Some(sha256)) => item.sha256().as_slice() != sha256,
            (Change::Put { .. } | Change::LetGo { .. }, None)
            | (Change::Delete { .. }, Some(_)) => true,
            (Change::Delete { .. }, None) | (Change::LetGo { .. }, Some(_)) => false,
        })
        .collect();
    let growth = changes.iter().map(|change| match change {
        Change::Put { id, .. } => i64::from(!stored.contains_key(id)),
        Change::Delete { .. } => -1,
        Change::LetGo { .. } => 0,
    });
    let growth = growth.sum();
    Ok((changes, growth))
}

async fn put(
    tx: &mut SystemTx,
    feed: &str,
    generation: i64,
    id: &str,
    item: &Rendered,
    secrets: Vec<SecretRef>,
) -> Result<(), Error> {
    sqlx::query(
        "with revived as (delete from feed_tombstone where feed = $1 and id = $2)
         insert into feed_item (feed, id, generation, bucket, json, sha256, secrets)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (feed, id) do update set generation = excluded.generation,
            json = excluded.json, sha256 = excluded.sha256, secrets = excluded.secrets",
    )
    .bind(feed)
    .bind(id)
    .bind(generation)
    .bind(i16::from(bucket_of(id)))
    .bind(item.json())
    .bind(item.sha256().as_slice())
    .bind(Json(secrets))
    .execute(tx.executor())
    .await?;
    Ok(())
}

async fn delete(
    tx: &mut SystemTx,
    feed: &str,
    generation: i64,
    id: &str,
    cause: DropCause,
) -> Result<(), Error> {
    sqlx::query(
        "with gone as (delete from feed_item where feed = $1 and id = $2)
         insert into feed_tombstone (feed, id, generation, cause) values ($1, $2, $3, $4)
         on conflict (feed, id) do update set generation = excluded.generation,
            cause = excluded.cause, created_at = now()",
    )
    .bind(feed)
    .bind(id)
    .bind(generation)
    .bind(super::read::cause_word(cause))
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The bucket digests after the change; only touched buckets are read.
async fn rehash(
    tx: &mut SystemTx,
    feed: &str,
    mut buckets: Box<[Sha; BUCKETS]>,
    touched: &BTreeSet<i16>,
) -> Result<Box<[Sha; BUCKETS]>, Error> {
    let numbers: Vec<i16> = touched.iter().copied().collect();
    let rows: Vec<(i16, String, Vec<u8>)> = sqlx::query_as(
        "select bucket, id, sha256 from feed_item where feed = $1 and bucket = any($2)",
    )
    .bind(feed)
    .bind(&numbers)
    .fetch_all(tx.executor())
    .await?;
    let mut items: BTreeMap<i16, BTreeMap<String, Sha>> =
        numbers.into_iter().map(|n| (n, BTreeMap::new())).collect();
    for (bucket, id, sha256) in rows {
        let sha256 = Sha::try_from(sha256).map_err(|_| Error::corrupt("hash of an item", &id))?;
        items.entry(bucket).or_default().insert(id, sha256);
    }
    for (bucket, items) in items {
        if let Some(digest) = usize::try_from(bucket)
            .ok()
            .and_then(|n| buckets.get_mut(n))
        {
            *digest = bucket_digest(items.iter().map(|(id, sha256)| (id.as_str(), sha256)));
        }
    }
    Ok(buckets)
}
