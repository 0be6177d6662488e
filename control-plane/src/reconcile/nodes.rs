//! Liveness of nodes: late when silent for 45 s in which we listened, lost after 2 min. Services
//! with instances on lost, emptied or removed nodes are looked at by the scheduler, which has the
//! brake. What a fenced node ran goes. Also follows the database's timeline.

use std::collections::BTreeMap;

use domain::id::OrganizationId;

use super::{Context, Error};
use crate::{
    store::{
        self, epoch, evaluation,
        event::{self, NewEvent},
        fence::{self, Lost},
        liveness,
        tx::{Access as _, SystemTx},
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let state = &context.state;
    let mut tx = SystemTx::begin(&state.pools).await?;
    epoch::follow_timeline(&mut tx).await?;
    liveness::listen(&mut tx, liveness::GAP).await?;
    let late_after = state.config.node.late_after.duration();
    let late = liveness::mark_late(&mut tx, late_after).await?;
    for node in &late {
        tracing::warn!(%node, "a node is late: nothing new is placed on it");
    }
    // Kept before services are looked at: who holds one of them keeps nobody from being heard, or missed.
    tx.commit().await?;
    if !late.is_empty() {
        state.waker.wake(Topic::Nodes);
    }
    ask_about_disturbed(&context).await?;
    end_lost(&context).await
}

/// The scheduler is asked about services that nodes have disturbed.
async fn ask_about_disturbed(context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let disturbed = liveness::disturbed(&mut tx).await?;
    for (organization, service) in &disturbed {
        evaluation::request(&mut tx, *organization, *service, "node").await?;
    }
    tx.commit().await?;
    if !disturbed.is_empty() {
        context.state.waker.wake(Topic::Evaluations);
    }
    Ok(())
}

/// What fenced nodes ran goes.
async fn end_lost(context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let lost = fence::stop_instances(&mut tx).await?;
    replace(&mut tx, &lost).await?;
    tx.commit().await?;
    if !lost.is_empty() {
        [
            Topic::Instances,
            Topic::Evaluations,
            Topic::Routes,
            Topic::Nodes,
        ]
        .into_iter()
        .for_each(|topic| context.state.waker.wake(topic));
    }
    Ok(())
}

/// What a fenced node ran is placed elsewhere, and its owners are told.
async fn replace(tx: &mut SystemTx, lost: &[Lost]) -> Result<(), store::Error> {
    let mut events: BTreeMap<OrganizationId, Vec<NewEvent>> = BTreeMap::new();
    for Lost {
        organization,
        service,
        instance,
    } in lost
    {
        evaluation::request(tx, *organization, *service, "fence").await?;
        let of_organization = events.entry(*organization).or_default();
        of_organization.push(NewEvent::new("instance.fenced", instance));
    }
    for (organization, events) in events {
        event::append(tx.executor(), organization, &events).await?;
    }
    Ok(())
}
