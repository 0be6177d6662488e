//! The one authorizer. What it returns ([`Grant`]) is the only way from a request to a transaction,
//! so nothing of a tenant can be read or changed without having passed here.

use api::role::Role;
use domain::id::OrganizationId;

pub use crate::store::access::Resource;
use crate::store::{
    self,
    tx::{Mutation, SystemTx, TenantTx},
};

use super::{
    Context, Error,
    action::Action,
    policy::{Scope, permits},
};

/// That an actor may do an action in an organization.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// Whose rows it opens.
    pub organization: OrganizationId,
    /// What is allowed.
    pub action: Action,
}

impl Grant {
    /// Reads the organization's rows.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn read(&self, context: &Context) -> Result<TenantTx, Error> {
        Ok(TenantTx::begin(&context.state.pools, self.organization).await?)
    }

    /// Changes the organization's rows.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn mutate(&self, context: &Context) -> Result<Mutation, Error> {
        Ok(Mutation::tenant(&context.state.pools, self.organization).await?)
    }
}

/// That an actor may do an action on the platform or on itself.
#[derive(Debug, Clone, Copy)]
pub struct PlatformGrant {
    /// What is allowed.
    pub action: Action,
}

impl PlatformGrant {
    /// Reads what no tenant owns.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn read(&self, context: &Context) -> Result<SystemTx, Error> {
        Ok(SystemTx::begin(&context.state.pools).await?)
    }

    /// Changes what no tenant owns; the audit event goes to the platform's log.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn mutate(&self, context: &Context) -> Result<Mutation, Error> {
        Ok(Mutation::platform(&context.state.pools, None).await?)
    }
}

/// Whether the actor may do this to a tenant's resource.
///
/// # Errors
/// [`Error::NotFound`] where even its existence is private, else [`Error::Forbidden`].
pub async fn authorize(
    context: &Context,
    action: Action,
    resource: Resource,
) -> Result<Grant, Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let located = store::access::locate(&mut tx, resource, context.actor.user).await?;
    let located = located.ok_or_else(|| not_found(resource, false))?;
    let role = located
        .role
        .and_then(|role| context.actor.limit(located.organization, role))
        .ok_or_else(|| not_found(resource, true))?;
    decide(context, action, located.organization, role)
}

/// Whether the actor may do this on the platform, or to itself.
///
/// # Errors
/// [`Error::Forbidden`].
pub fn authorize_platform(context: &Context, action: Action) -> Result<PlatformGrant, Error> {
    if permits(&context.actor, action, Scope::Platform) {
        Ok(PlatformGrant { action })
    } else {
        Err(Error::Forbidden {
            action: action.as_str(),
            organization: None,
        })
    }
}

/// Whether the actor may hand out this role in the organization.
///
/// # Errors
/// [`Error::Forbidden`].
pub async fn authorize_role(
    context: &Context,
    organization: OrganizationId,
    role: Role,
) -> Result<(), Error> {
    let action = match role {
        Role::Owner => Action::RoleOwner,
        Role::Admin => Action::RoleAdmin,
        Role::Developer => Action::RoleDeveloper,
        Role::Viewer => Action::RoleViewer,
    };
    authorize(context, action, Resource::Organization(organization))
        .await
        .map(|_| ())
}

fn decide(
    context: &Context,
    action: Action,
    organization: OrganizationId,
    role: Role,
) -> Result<Grant, Error> {
    if permits(
        &context.actor,
        action,
        Scope::Organization(organization, role),
    ) {
        Ok(Grant {
            organization,
            action,
        })
    } else {
        Err(Error::Forbidden {
            action: action.as_str(),
            organization: Some(organization),
        })
    }
}

fn not_found(resource: Resource, foreign: bool) -> Error {
    Error::NotFound {
        kind: resource.kind(),
        id: resource.to_string(),
        foreign,
    }
}
