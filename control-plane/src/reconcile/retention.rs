//! What is kept only for a while: tombstones, archives that were built, idempotency keys, old events
//! and instances that have gone.

use super::{Context, Error};
use crate::store::{retention, tx::SystemTx};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let removed = retention::sweep(&mut tx).await?;
    tx.commit().await?;
    if removed > 0 {
        tracing::info!(removed, "rows whose time was over are gone");
    }
    Ok(())
}
