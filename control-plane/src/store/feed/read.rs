//! Reading feeds: where one stands, and what has changed since a position.

use std::collections::{BTreeMap, HashMap};

use domain::generation::{Epoch, Generation, Position};
use protocol::feed::{Commit, DropCause, FeedName, SecretRef, digest::Rendered};
use sqlx::types::Json;

use super::{Error, epoch};
use crate::store::{
    epoch::follow_timeline,
    tx::{Access as _, SystemTx},
};

/// Where a feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    pub digest: String,
    pub count: u64,
}

impl Head {
    /// Whether a node has seen what this database has not: something newer, or the same position
    /// with another digest.
    #[must_use]
    pub fn is_behind(&self, shown: &Commit) -> bool {
        let same = shown.position() == self.position;
        shown.position() > self.position || (same && shown.digest != self.digest)
    }
}

/// What a reader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Following {
    pub epoch: Epoch,
    pub after: Generation,
}

impl Following {
    /// Whether only the whole document leads to the head: another epoch, a history that is
    /// compacted or was lost, or no document at all.
    #[must_use]
    pub fn needs_full(self, head: Position, compacted: i64) -> bool {
        self.epoch != head.epoch
            || self.after.0 < compacted
            || self.after > head.generation
            || self.after == Generation(0)
    }
}

/// Everything between what a reader has and the head.
#[derive(Debug, Clone)]
pub struct Changes {
    pub head: Head,
    /// The items are the whole document.
    pub full: bool,
    pub items: Vec<(String, Rendered)>,
    /// What left, and why; in a full document everything known.
    pub deleted: Vec<(String, DropCause)>,
    /// What the items refer to.
    pub secrets: Vec<SecretRef>,
}

/// Where a feed stands; makes it if need be, so that an empty document can be followed. In the epoch
/// that is stored: what a node shows is compared with that before a new one begins.
pub async fn head(tx: &mut SystemTx, feed: &FeedName) -> Result<Head, Error> {
    locked_head(tx, &feed.to_string())
        .await
        .map(|(head, _)| head)
}

/// What has changed since `following`. Until the transaction's end nobody changes the feed.
pub async fn changes(
    tx: &mut SystemTx,
    feed: &FeedName,
    following: Following,
) -> Result<Changes, Error> {
    let name = feed.to_string();
    follow_timeline(tx).await?;
    let (head, compacted) = locked_head(tx, &name).await?;
    let full = following.needs_full(head.position, compacted);
    let after = if full { -1 } else { following.after.0 };
    let rows: Vec<(String, String, Json<Vec<SecretRef>>)> = sqlx::query_as(
        "select id, json, secrets from feed_item where feed = $1 and generation > $2 order by id",
    )
    .bind(&name)
    .bind(after)
    .fetch_all(tx.executor())
    .await?;
    let mut items = Vec::with_capacity(rows.len());
    let mut secrets = Vec::new();
    for (id, json, Json(refers)) in rows {
        let item = Rendered::from_json(&json).map_err(|e| Error::corrupt("feed item", e))?;
        items.push((id, item));
        secrets.extend(refers);
    }
    secrets.sort();
    secrets.dedup();
    Ok(Changes {
        head,
        full,
        items,
        deleted: deleted(tx, &name, after).await?,
        secrets,
    })
}

async fn deleted(
    tx: &mut SystemTx,
    feed: &str,
    after: i64,
) -> Result<Vec<(String, DropCause)>, Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select id, cause from feed_tombstone where feed = $1 and generation > $2 order by id",
    )
    .bind(feed)
    .bind(after)
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter()
        .map(|(id, cause)| Ok((id, cause_of(&cause)?)))
        .collect()
}

/// Where several feeds stand, without waiting for writers.
pub async fn positions(
    tx: &mut SystemTx,
    feeds: &[FeedName],
) -> Result<BTreeMap<FeedName, Position>, Error> {
    let epoch = epoch(tx).await?;
    let names: Vec<String> = feeds.iter().map(ToString::to_string).collect();
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select name, generation from feed where name = any($1)")
            .bind(&names)
            .fetch_all(tx.executor())
            .await?;
    let known: BTreeMap<String, i64> = rows.into_iter().collect();
    let position = |name: &str| Position {
        epoch,
        generation: Generation(known.get(name).copied().unwrap_or_default()),
    };
    Ok(feeds
        .iter()
        .zip(&names)
        .map(|(feed, name)| (feed.clone(), position(name)))
        .collect())
}

/// Where all feeds stand, by name.
pub async fn heads(tx: &mut SystemTx) -> Result<HashMap<String, Position>, Error> {
    let epoch = epoch(tx).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as("select name, generation from feed")
        .fetch_all(tx.executor())
        .await?;
    let position = |generation| Position {
        epoch,
        generation: Generation(generation),
    };
    Ok(rows
        .into_iter()
        .map(|(name, generation)| (name, position(generation)))
        .collect())
}

async fn locked_head(tx: &mut SystemTx, feed: &str) -> Result<(Head, i64), Error> {
    let (generation, digest, count, compacted) = match shared_row(tx, feed).await? {
        Some(row) => row,
        None => {
            make(tx, feed).await?;
            let row = shared_row(tx, feed).await?;
            row.ok_or_else(|| Error::corrupt("feed", feed))?
        }
    };
    // After the row, which whoever began a new epoch may just have written.
    let epoch = epoch(tx).await?;
    let head = Head {
        position: Position {
            epoch,
            generation: Generation(generation),
        },
        digest,
        count: u64::try_from(count).map_err(|e| Error::corrupt("count of a feed", e))?,
    };
    Ok((head, compacted))
}

async fn shared_row(
    tx: &mut SystemTx,
    feed: &str,
) -> Result<Option<(i64, String, i64, i64)>, Error> {
    let shared = "select generation, digest, count, compacted from feed where name = $1 for share";
    Ok(sqlx::query_as(shared)
        .bind(feed)
        .fetch_optional(tx.executor())
        .await?)
}

/// A new feed is an empty document of generation 1: even that is signed and acknowledged.
pub(super) async fn make(tx: &mut SystemTx, feed: &str) -> Result<(), Error> {
    sqlx::query(
        "insert into feed (name, generation, digest) values ($1, 1, $2) on conflict do nothing",
    )
    .bind(feed)
    .bind(protocol::feed::digest::Document::default().digest())
    .execute(tx.executor())
    .await?;
    Ok(())
}

pub(super) const fn cause_word(cause: DropCause) -> &'static str {
    match cause {
        DropCause::Deployment => "deployment",
        DropCause::Deletion => "deletion",
        DropCause::Drain => "drain",
        DropCause::Plan => "plan",
        DropCause::Finished => "finished",
    }
}

fn cause_of(word: &str) -> Result<DropCause, Error> {
    [
        DropCause::Deployment,
        DropCause::Deletion,
        DropCause::Drain,
        DropCause::Plan,
        DropCause::Finished,
    ]
    .into_iter()
    .find(|cause| cause_word(*cause) == word)
    .ok_or_else(|| Error::corrupt("cause of a drop", word))
}
