//! Feeds at rest. Items are rendered once, in the transaction that bumps the feed's generation under
//! its row's lock, so that commit order is generation order and replicas send bytes, never render.

mod read;
mod write;

pub use read::{Changes, Following, Head, changes, head, heads, positions};
pub use write::{Change, write};

use std::collections::BTreeMap;

use domain::generation::{Epoch, Generation, Position};
use protocol::feed::FeedName;

use super::{
    Error, epoch as platform_epoch,
    tx::{Access as _, SystemTx},
};

/// A feed's name, as it is stored.
pub fn name_of(stored: &str) -> Result<FeedName, Error> {
    stored
        .parse()
        .map_err(|error| Error::corrupt("feed", error))
}

/// From rows of a feed's name, an epoch and a generation.
pub fn positions_of(rows: Vec<(String, i64, i64)>) -> Result<BTreeMap<FeedName, Position>, Error> {
    let position = |(feed, epoch, generation): (String, i64, i64)| {
        let position = Position {
            epoch: Epoch(epoch),
            generation: Generation(generation),
        };
        Ok((name_of(&feed)?, position))
    };
    rows.into_iter().map(position).collect()
}

/// The platform's epoch.
pub async fn epoch(tx: &mut SystemTx) -> Result<Epoch, Error> {
    let epoch = sqlx::query_scalar("select epoch from platform")
        .fetch_one(tx.executor())
        .await?;
    Ok(Epoch(epoch))
}

/// The epoch to write and to serve in. Where the database's history may have been cut and nobody has
/// noticed yet, it begins here: no lost generation is used a second time in the epoch that had it.
async fn current_epoch(tx: &mut SystemTx) -> Result<Epoch, Error> {
    platform_epoch::follow_timeline(tx).await?;
    epoch(tx).await
}
