//! What is kept only for a while: tombstones, archives that were built, idempotency keys, old events
//! and instances that have gone.

use super::{Context, Error, Turn};
use crate::store::{
    retention::{SWEEPS, Sweep},
    tx::SystemTx,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let mut turn = Turn::default();
    for one in &SWEEPS {
        turn.note(one.of, sweep(&context, one).await)?;
    }
    turn.end()
}

async fn sweep(context: &Context, one: &Sweep) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let removed = one.run(&mut tx).await?;
    tx.commit().await?;
    if removed > 0 {
        tracing::info!(of = one.of, removed, "rows whose time was over are gone");
    }
    Ok(())
}
