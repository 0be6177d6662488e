//! Organizations: the boundary between tenants.

use api::{
    organization::{CreateOrganization, Organization, UpdateOrganization},
    page::Page,
    problem::Code,
    role::Role,
};
use domain::{id::OrganizationId, name::Name};
use serde_json::json;

use crate::{
    identity::Credential,
    store::{self, event::NewEvent, page::Paging},
};

use super::{
    Action, Context, Error, OnConstraint as _, Resource, authorize, authorize_platform,
    idempotency::{self, Begun},
    version::{Expected, mismatch},
};

/// The actor's organizations.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(context: &Context, paging: Paging) -> Result<Page<Organization>, Error> {
    let grant = authorize_platform(context, Action::OrganizationList)?;
    let only = match context.actor.credential {
        Credential::Session(_) => None,
        Credential::ApiToken { organization, .. } => Some(organization),
    };
    let mut tx = grant.read(context).await?;
    Ok(store::organization::list_of_user(&mut tx, context.actor.user, only, paging).await?)
}

/// Makes an organization; the actor becomes its owner.
///
/// # Errors
/// When not allowed, or the name is taken.
pub async fn create(context: &Context, request: CreateOrganization) -> Result<Organization, Error> {
    let grant = authorize_platform(context, Action::OrganizationCreate)?;
    if request.name.is_reserved() {
        return Err(reserved(&request.name));
    }
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let organization = store::organization::insert(&mut tx, OrganizationId::new(), &request.name)
        .await
        .on_constraint("organization_name", || taken(&request.name))?;
    store::user::insert_member(&mut tx, organization.id, context.actor.user, Role::Owner).await?;
    let entry = context.did(grant.action, organization.id);
    tx.commit(entry, organization).await
}

/// One organization.
///
/// # Errors
/// When there is none for the actor.
pub async fn get(context: &Context, id: OrganizationId) -> Result<Organization, Error> {
    let grant = authorize(context, Action::OrganizationGet, Resource::Organization(id)).await?;
    let mut tx = grant.read(context).await?;
    let found = store::organization::find(&mut tx, id).await?;
    found.ok_or_else(|| Error::not_found("organization", id))
}

/// Renames an organization.
///
/// # Errors
/// When not allowed, the name is taken, or the version is another one.
pub async fn update(
    context: &Context,
    id: OrganizationId,
    expected: Expected,
    request: UpdateOrganization,
) -> Result<Organization, Error> {
    let grant = authorize(
        context,
        Action::OrganizationUpdate,
        Resource::Organization(id),
    )
    .await?;
    if request.name.is_reserved() {
        return Err(reserved(&request.name));
    }
    let mut tx = grant.mutate(context).await?;
    let organization = store::organization::update(&mut tx, id, expected.version(), &request.name)
        .await
        .on_constraint("organization_name", || taken(&request.name))?
        .ok_or_else(|| mismatch("organization"))?;
    tx.event(NewEvent::new("organization.updated", id));
    let detail = json!({ "name": request.name });
    let entry = context.did_with(grant.action, id, detail);
    context.commit(tx, entry, &[]).await?;
    Ok(organization)
}

/// Deletes an organization that has no projects any more.
///
/// # Errors
/// When not allowed, projects are left, or the version is another one.
pub async fn delete(
    context: &Context,
    id: OrganizationId,
    expected: Expected,
) -> Result<(), Error> {
    let grant = authorize(
        context,
        Action::OrganizationDelete,
        Resource::Organization(id),
    )
    .await?;
    let mut tx = grant.mutate(context).await?;
    let projects = store::project::list(&mut tx, id, Paging::FIRST).await?;
    if !projects.items.is_empty() {
        return Err(Error::refused(
            Code::NotEmpty,
            "the organization still has projects; delete them first",
        ));
    }
    if !store::organization::delete(&mut tx, id, expected.version()).await? {
        return Err(mismatch("organization"));
    }
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[]).await
}

fn taken(name: &Name) -> Error {
    Error::refused(
        Code::NameTaken,
        format!("the name {name} is not available; choose another one"),
    )
}

fn reserved(name: &Name) -> Error {
    Error::refused(
        Code::NameReserved,
        format!("the platform keeps the name {name} for itself; choose another one"),
    )
}
