//! The audit log, as its organization's administrators read it.

use api::{audit_event::AuditEvent, page::Page};
use domain::id::OrganizationId;

use crate::store::{self, page::Paging};

use super::{Action, Context, Error, Resource, authorize};

/// An organization's log, newest first.
///
/// # Errors
/// When not allowed.
pub async fn list(
    context: &Context,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<AuditEvent>, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::AuditEventList, resource).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::audit_event::list(&mut tx, organization, paging).await?)
}
