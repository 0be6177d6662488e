//! An organization's event stream.

use api::event::Event;
use domain::id::OrganizationId;

use crate::{
    slots::Slot,
    store::{self, tx::TenantTx},
};

use super::{Action, Context, Error, Grant, Resource, authorize};

/// Events of one read.
const BATCH: i64 = 200;

/// A stream and where it goes on.
pub struct Stream {
    grant: Grant,
    /// The last event that was given out.
    pub position: i64,
    /// Events after the client's position are not kept any more: it must read everything anew.
    pub reset: bool,
    _slot: Slot,
}

/// Opens a stream after `last`, or from now on.
///
/// # Errors
/// When there is no such organization for the actor.
pub async fn open(
    context: &Context,
    organization: OrganizationId,
    last: Option<i64>,
) -> Result<Stream, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::EventStream, resource).await?;
    let slot = context.state.streams.take(context.actor.user.uuid())?;
    let mut tx = grant.read(context).await?;
    let (first, newest) = store::event::bounds(&mut tx, organization).await?;
    let reset = last.is_some_and(|last| last > newest || last + 1 < first);
    let position = last.filter(|_| !reset).unwrap_or(newest);
    Ok(Stream {
        grant,
        position,
        reset,
        _slot: slot,
    })
}

impl Stream {
    /// What followed since; empty when nothing did. The actor's token and access are checked
    /// again each time.
    ///
    /// # Errors
    /// When access has ended, or the database can't be reached.
    pub async fn next(&mut self, context: &Context) -> Result<Vec<Event>, Error> {
        let organization = self.grant.organization;
        let resource = Resource::Organization(organization);
        context.state.sessions.recheck(&context.actor).await?;
        authorize(context, Action::EventStream, resource).await?;
        let mut tx = TenantTx::begin(&context.state.pools, organization).await?;
        let events = store::event::list_after(&mut tx, organization, self.position, BATCH).await?;
        if let Some(last) = events.last() {
            self.position = last.sequence;
        }
        Ok(events)
    }
}
