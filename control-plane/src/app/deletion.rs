//! Deletions: what was deleted and is not wholly gone yet.

use api::{deletion::Deletion, page::Page};
use domain::id::OrganizationId;

use crate::{
    store::{self, page::Paging},
    workflow::deletion,
};

use super::{Action, Context, Error, Resource, authorize};

/// What is being deleted in an organization, and what each deletion waits for.
///
/// # Errors
/// When there is no such organization for the actor.
pub async fn list(
    context: &Context,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<Deletion>, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::DeletionList, resource).await?;
    let mut tx = grant.read(context).await?;
    let kind = deletion::WORKFLOW.kind;
    Ok(store::deletion_api::list(&mut tx, organization, kind, paging).await?)
}
