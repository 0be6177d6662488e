//! Liveness of nodes: late when silent for 45 s in which we listened, lost after 2 min. Services
//! with instances on lost, emptied or removed nodes are looked at by the scheduler, which has the
//! brake. Also follows the database's timeline.

use std::time::Duration;

use super::{Context, Error};
use crate::{
    store::{epoch, evaluation, liveness, tx::SystemTx},
    waker::Topic,
};

/// A pause of this length in our listening makes the silence of nodes count anew.
const GAP: Duration = Duration::from_secs(10);

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let state = &context.state;
    let mut tx = SystemTx::begin(&state.pools).await?;
    epoch::follow_timeline(&mut tx).await?;
    liveness::listen(&mut tx, GAP).await?;
    let late_after = state.config.node.late_after.duration();
    for node in liveness::mark_late(&mut tx, late_after).await? {
        tracing::warn!(%node, "a node is late: nothing new is placed on it");
    }
    let disturbed = liveness::disturbed(&mut tx).await?;
    for (organization, service) in &disturbed {
        evaluation::request(&mut tx, *organization, *service, "node").await?;
    }
    tx.commit().await?;
    if !disturbed.is_empty() {
        state.waker.wake(Topic::Evaluations);
    }
    Ok(())
}
