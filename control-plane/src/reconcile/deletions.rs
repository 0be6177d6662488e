//! Deleted services, environments and projects leave nothing behind: instances and builds end first,
//! then rows go, from the leaves up.

use super::{Context, Error};
use crate::{
    store::{deletion, evaluation, tx::SystemTx},
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let state = &context.state;
    let doomed = deletion::services(&mut SystemTx::begin(&state.pools).await?).await?;
    for service in doomed {
        let mut tx = SystemTx::begin(&state.pools).await?;
        if service.at_rest {
            deletion::forget_service(&mut tx, &service).await?;
        } else {
            evaluation::request(&mut tx, service.organization, service.id, "deletion").await?;
        }
        tx.commit().await?;
        for topic in [
            Topic::Evaluations,
            Topic::Deployments,
            Topic::Instances,
            Topic::Routes,
        ] {
            state.waker.wake(topic);
        }
    }
    let mut tx = SystemTx::begin(&state.pools).await?;
    deletion::forget_empty(&mut tx).await?;
    Ok(tx.commit().await?)
}
