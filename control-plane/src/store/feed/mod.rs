//! Feeds at rest. Items are rendered once, in the transaction that bumps the feed's generation under
//! its row's lock, so that commit order is generation order and replicas send bytes, never render.

mod read;
mod write;

pub use read::{Changes, Following, Head, changes, head, heads, positions};
pub use write::{Change, write};

use domain::generation::Epoch;

use super::{
    Error, epoch as platform_epoch,
    tx::{Access as _, SystemTx},
};

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
