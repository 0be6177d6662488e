//! What is kept only for a while: tombstones, archives that were built, idempotency keys, old events
//! and instances that have gone.

use chrono::{DateTime, Utc};

use super::{Context, Error, Turn};
use crate::store::{
    retention::{self, SWEEPS, Sweep},
    tx::SystemTx,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let at = time(&context).await?;
    let mut turn = Turn::default();
    for one in &SWEEPS {
        turn.note(one.of, sweep(&context, one, at).await)?;
    }
    turn.end()
}

async fn time(context: &Context) -> Result<DateTime<Utc>, Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let at = retention::turn(&mut tx).await?;
    tx.commit().await?;
    Ok(at)
}

async fn sweep(context: &Context, one: &Sweep, at: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let removed = one.run(&mut tx, at).await?;
    tx.commit().await?;
    if removed > 0 {
        tracing::info!(of = one.of, removed, "rows whose time was over are gone");
    }
    Ok(())
}
