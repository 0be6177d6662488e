//! Instances: running copies, as planned and as seen.

use api::{instance::Instance, page::Page};
use domain::id::ServiceId;

use crate::store::{self, page::Paging};

use super::{Action, Context, Error, Resource, authorize};

/// The instances of a service, newest first.
///
/// # Errors
/// When there is no such service for the actor.
pub async fn list(
    context: &Context,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Instance>, Error> {
    let grant = authorize(context, Action::InstanceList, Resource::Service(service)).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::instance_api::list(&mut tx, service, paging).await?)
}
