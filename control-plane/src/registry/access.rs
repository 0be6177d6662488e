//! Which of the actions that are asked for somebody gets.

use std::collections::BTreeSet;

use chrono::Utc;
use domain::id::OrganizationId;
use protocol::join::RegistryToken;

use super::{
    Error, Issuer,
    scope::{Action, Repository, Scope},
};

/// Who asks at `GET /v1/registry/token`. Nodes ask elsewhere ([`super::node_token`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Nobody known.
    Anonymous,
    /// A person or program of these organizations.
    Member {
        /// For the registry's own log.
        id: String,
        /// May pull from their repositories.
        organizations: BTreeSet<OrganizationId>,
        /// May also provide base images.
        platform_admin: bool,
    },
}

/// Answers `GET /v1/registry/token`: a token for what `subject` gets of the `scope` parameters.
///
/// # Errors
/// When signing fails. Scopes that are refused are left out, as the protocol expects.
pub fn answer<'a>(
    issuer: &Issuer,
    subject: &Subject,
    scopes: impl IntoIterator<Item = &'a str>,
) -> Result<RegistryToken, Error> {
    let scopes: Vec<Scope> = Scope::parse_all(scopes)
        .iter()
        .filter_map(|scope| granted(subject, scope))
        .collect();
    let id = match subject {
        Subject::Anonymous => "anonymous",
        Subject::Member { id, .. } => id,
    };
    issuer.issue(id, &scopes, Utc::now())
}

/// What `subject` gets of `scope`; nothing when `None`. Only builds push to a service's repository.
#[must_use]
pub fn granted(subject: &Subject, scope: &Scope) -> Option<Scope> {
    let allowed = match (&scope.repository, subject) {
        (
            Repository::Library(_),
            Subject::Member {
                platform_admin: true,
                ..
            },
        ) => BTreeSet::from([Action::Pull, Action::Push, Action::Delete]),
        (Repository::Library(_), _) => BTreeSet::from([Action::Pull]),
        (Repository::Service { organization, .. }, Subject::Member { organizations, .. })
            if organizations.contains(organization) =>
        {
            BTreeSet::from([Action::Pull])
        }
        (Repository::Service { .. }, _) => BTreeSet::new(),
    };
    let actions: BTreeSet<Action> = scope.actions.intersection(&allowed).copied().collect();
    (!actions.is_empty()).then(|| Scope {
        repository: scope.repository.clone(),
        actions,
    })
}

#[cfg(test)]
mod tests {
    use domain::id::ServiceId;

    use super::*;

    fn ask(subject: &Subject, repository: &str) -> Vec<Action> {
        let text = format!("repository:{repository}:pull,push,delete");
        let scope = Scope::parse_all([text.as_str()]).remove(0);
        granted(subject, &scope)
            .map(|scope| scope.actions.into_iter().collect())
            .unwrap_or_default()
    }

    #[test]
    fn nobody_reaches_another_organization_and_only_admins_provide_base_images() {
        let (own, other) = (OrganizationId::new(), OrganizationId::new());
        let member = |platform_admin| Subject::Member {
            id: "usr_1".into(),
            organizations: BTreeSet::from([own]),
            platform_admin,
        };
        let own_service = format!("{own}/{}", ServiceId::new());
        let other_service = format!("{other}/{}", ServiceId::new());
        let all = vec![Action::Pull, Action::Push, Action::Delete];
        for (subject, library, own_images) in [
            (Subject::Anonymous, vec![Action::Pull], vec![]),
            (member(false), vec![Action::Pull], vec![Action::Pull]),
            (member(true), all, vec![Action::Pull]),
        ] {
            assert_eq!(ask(&subject, "library/python"), library, "{subject:?}");
            assert_eq!(ask(&subject, &own_service), own_images, "{subject:?}");
            assert_eq!(ask(&subject, &other_service), [], "{subject:?}");
        }
    }
}
