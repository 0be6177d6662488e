//! A known person or program.

use api::role::Role;
use domain::id::{ApiTokenId, OrganizationId, SessionId, UserId};

use crate::audit::ActorId;

/// A known person or program. Comes from [`super::Sessions::authenticate`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The person, or the person that a token belongs to.
    pub user: UserId,
    /// How it proved who it is.
    pub credential: Credential,
    /// Runs the platform.
    pub platform_admin: bool,
}

/// How an actor proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A person's sign-in: good for all of the person's organizations.
    Session(SessionId),
    /// A program's token: good for one organization, with at most this role.
    ApiToken {
        /// The token.
        id: ApiTokenId,
        /// What it is good for.
        organization: OrganizationId,
        /// At most.
        role: Role,
    },
}

impl Actor {
    /// As the audit log names it.
    #[must_use]
    pub const fn audit_id(&self) -> ActorId {
        match &self.credential {
            Credential::Session(_) => ActorId::User(self.user),
            Credential::ApiToken { id, .. } => ActorId::ApiToken(*id),
        }
    }

    /// What its credential lets it use of a role that the person has in an organization.
    #[must_use]
    pub fn limit(&self, organization: OrganizationId, role: Role) -> Option<Role> {
        match &self.credential {
            Credential::Session(_) => Some(role),
            // Roles are ordered from owner down: the larger one may do less.
            Credential::ApiToken {
                organization: own,
                role: limit,
                ..
            } => (*own == organization).then_some(role.max(*limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reaches_one_organization_with_the_smaller_of_two_roles() {
        let organization = OrganizationId::new();
        let actor = Actor {
            user: UserId::new(),
            credential: Credential::ApiToken {
                id: ApiTokenId::new(),
                organization,
                role: Role::Developer,
            },
            platform_admin: false,
        };
        assert_eq!(
            actor.limit(organization, Role::Owner),
            Some(Role::Developer)
        );
        assert_eq!(actor.limit(organization, Role::Viewer), Some(Role::Viewer));
        assert_eq!(actor.limit(OrganizationId::new(), Role::Owner), None);
    }
}
