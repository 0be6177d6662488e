//! Releases: immutable pairs of image and configuration.

use api::{page::Page, release::Release};
use domain::id::{ReleaseId, ServiceId};

use crate::store::{self, page::Paging};

use super::{Action, Context, Error, Resource, authorize};

/// The releases of a service, newest first.
///
/// # Errors
/// When there is no such service for the actor.
pub async fn list(
    context: &Context,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Release>, Error> {
    let grant = authorize(context, Action::ReleaseList, Resource::Service(service)).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::release_api::list(&mut tx, service, paging).await?)
}

/// One release.
///
/// # Errors
/// When there is none for the actor.
pub async fn get(context: &Context, id: ReleaseId) -> Result<Release, Error> {
    let grant = authorize(context, Action::ReleaseGet, Resource::Release(id)).await?;
    let mut tx = grant.read(context).await?;
    let found = store::release_api::find(&mut tx, id).await?;
    found.ok_or_else(|| Error::not_found("release", id))
}
