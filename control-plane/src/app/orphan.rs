//! Orphans: instances that run on although a restored database does not know them.

use api::{orphan::Orphan, page::Page};
use domain::id::InstanceId;

use crate::{
    store::{self, page::Paging},
    waker::Topic,
};

use super::{Action, Context, Error, authorize_platform};

/// All of them.
///
/// # Errors
/// When not allowed.
pub async fn list(context: &Context, paging: Paging) -> Result<Page<Orphan>, Error> {
    let grant = authorize_platform(context, Action::OrphanList)?;
    let mut tx = grant.read(context).await?;
    Ok(store::orphan::list(&mut tx, paging).await?)
}

/// Lets one go: its node ends it.
///
/// # Errors
/// When not allowed, or there is none.
pub async fn delete(context: &Context, id: InstanceId) -> Result<(), Error> {
    let grant = authorize_platform(context, Action::OrphanDelete)?;
    let mut tx = grant.mutate(context).await?;
    if !store::orphan::let_go(&mut tx, id).await? {
        return Err(Error::not_found("orphan", id));
    }
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[Topic::Instances]).await
}
