//! Decides with Cedar policies who may do what. The built-in roles are policies like any other; an
//! organization's own policies will be added to the same set.

use std::{collections::HashSet, str::FromStr, sync::LazyLock};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, Schema,
};

use api::role::Role;
use domain::id::OrganizationId;

use crate::identity::{Actor, Credential};

use super::action::Action;

const SCHEMA: &str = include_str!("railhead.cedarschema");
const ROLES: &str = include_str!("roles.cedar");

/// What an action is done to, as policies see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Something of an organization, in which the actor has this role.
    Organization(OrganizationId, Role),
    /// The platform, or the actor itself.
    Platform,
}

static BUILT_IN: LazyLock<Result<BuiltIn, String>> = LazyLock::new(BuiltIn::load);

struct BuiltIn {
    policies: PolicySet,
    /// Actions with their groups, and the roles.
    entities: Entities,
}

impl BuiltIn {
    fn load() -> Result<Self, String> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|e| e.to_string())?;
        let roles = [
            role("owner", &["admin", "developer", "viewer"]),
            role("admin", &["developer", "viewer"]),
            role("developer", &["viewer"]),
            role("viewer", &[]),
            role("platform_admin", &[]),
        ];
        let entities = schema.action_entities().map_err(|e| e.to_string())?;
        Ok(Self {
            policies: PolicySet::from_str(ROLES).map_err(|e| e.to_string())?,
            entities: entities
                .add_entities(roles, None)
                .map_err(|e| e.to_string())?,
        })
    }
}

/// Whether the actor may do this there. Anything that can't be decided is a no.
#[must_use]
pub fn permits(actor: &Actor, action: Action, scope: Scope) -> bool {
    let decided = BUILT_IN
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|built_in| decide(built_in, actor, action, scope));
    match decided {
        Ok(decision) => decision == Decision::Allow,
        Err(error) => {
            tracing::error!(%error, action = action.as_str(), "can't evaluate the policies");
            false
        }
    }
}

fn decide(
    built_in: &BuiltIn,
    actor: &Actor,
    action: Action,
    scope: Scope,
) -> Result<Decision, String> {
    let principal = match &actor.credential {
        Credential::Session(_) => uid("User", &actor.user.to_string()),
        Credential::ApiToken { id, .. } => uid("ApiToken", &id.to_string()),
    };
    let mut roles = HashSet::new();
    let resource = match scope {
        Scope::Organization(organization, held) => {
            roles.extend(roles_from(held).map(|role| uid("Role", role.as_str())));
            uid("Organization", &organization.to_string())
        }
        Scope::Platform => {
            if actor.platform_admin {
                roles.insert(uid("Role", "platform_admin"));
            }
            uid("Platform", "platform")
        }
    };
    let entities = built_in
        .entities
        .clone()
        .add_entities([Entity::new_no_attrs(principal.clone(), roles)], None)
        .map_err(|e| e.to_string())?;
    let action = uid("Action", action.as_str());
    let request = Request::new(principal, action, resource, Context::empty(), None)
        .map_err(|e| e.to_string())?;
    let response = Authorizer::new().is_authorized(&request, &built_in.policies, &entities);
    Ok(response.decision())
}

fn roles_from(held: Role) -> impl Iterator<Item = Role> {
    [Role::Owner, Role::Admin, Role::Developer, Role::Viewer]
        .into_iter()
        .filter(move |role| *role >= held)
}

fn role(name: &str, within: &[&str]) -> Entity {
    let parents = within.iter().map(|name| uid("Role", name)).collect();
    Entity::new_no_attrs(uid("Role", name), parents)
}

fn uid(kind: &'static str, id: &str) -> EntityUid {
    static NAMES: LazyLock<std::collections::HashMap<&'static str, EntityTypeName>> =
        LazyLock::new(|| {
            [
                "User",
                "ApiToken",
                "Role",
                "Organization",
                "Platform",
                "Action",
            ]
            .into_iter()
            .filter_map(|kind| Some((kind, format!("Railhead::{kind}").parse().ok()?)))
            .collect()
        });
    EntityUid::from_type_name_and_id(NAMES[kind].clone(), EntityId::new(id))
}

#[cfg(test)]
mod tests {
    use cedar_policy::{ValidationMode, Validator};

    use domain::id::{SessionId, UserId};

    use super::*;

    /// Asked by nobody known: no policy is about them.
    const PUBLIC: [Action; 2] = [Action::SessionCreate, Action::RegistryToken];

    fn actor(platform_admin: bool) -> Actor {
        Actor {
            user: UserId::new(),
            credential: Credential::Session(SessionId::new()),
            platform_admin,
        }
    }

    #[test]
    fn the_policies_fit_the_schema() {
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        assert_eq!(warnings.count(), 0);
        let policies = PolicySet::from_str(ROLES).unwrap();
        let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        assert!(
            result.validation_passed_without_warnings(),
            "{:?}",
            result.validation_errors().collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_action_is_in_the_schema_and_the_schema_has_no_other() {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        let groups = ["self", "read", "develop", "administer", "own", "operate"];
        let in_schema: std::collections::BTreeSet<String> = schema
            .actions()
            .map(|uid| uid.id().unescaped().to_owned())
            .filter(|name| !groups.contains(&name.as_str()))
            .collect();
        let in_code = Action::ALL
            .iter()
            .filter(|action| !PUBLIC.contains(action))
            .map(|action| action.as_str().to_owned())
            .collect();
        assert_eq!(in_schema, in_code);
    }

    #[test]
    fn each_role_may_do_what_the_next_one_may_and_more() {
        let organization = OrganizationId::new();
        let may = |role: Role| -> HashSet<Action> {
            Action::ALL
                .iter()
                .copied()
                .filter(|action| {
                    permits(
                        &actor(false),
                        *action,
                        Scope::Organization(organization, role),
                    )
                })
                .collect()
        };
        let [owner, admin, developer, viewer] =
            [Role::Owner, Role::Admin, Role::Developer, Role::Viewer].map(may);
        assert!(owner.is_superset(&admin) && owner.contains(&Action::OrganizationDelete));
        assert!(admin.is_superset(&developer) && admin.contains(&Action::UserCreate));
        assert!(!admin.contains(&Action::RoleOwner));
        assert!(developer.is_superset(&viewer) && developer.contains(&Action::DeploymentCreate));
        assert!(!developer.contains(&Action::AuditEventList));
        assert!(viewer.contains(&Action::ServiceGet) && !viewer.contains(&Action::VariableList));
        assert!(!owner.contains(&Action::NodeList));
    }

    #[test]
    fn the_platform_is_for_its_administrators() {
        assert!(permits(&actor(true), Action::NodeDelete, Scope::Platform));
        assert!(!permits(&actor(false), Action::NodeDelete, Scope::Platform));
        assert!(permits(&actor(false), Action::MeGet, Scope::Platform));
    }

    #[test]
    fn a_platform_administrator_is_nobody_in_an_organization_without_a_role() {
        let scope = Scope::Organization(OrganizationId::new(), Role::Viewer);
        assert!(!permits(&actor(true), Action::ServiceCreate, scope));
    }
}
