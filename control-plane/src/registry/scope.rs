//! What a token is for: `repository:<name>:<actions>`, as in the distribution project's token
//! specification.

use std::{collections::BTreeSet, fmt, str::FromStr};

use domain::id::{OrganizationId, ServiceId};

/// A repository of the registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repository {
    /// A base image, `library/<name>`.
    Library(String),
    /// A service's images, `<organization id>/<service id>`.
    Service {
        /// Whose it is.
        organization: OrganizationId,
        /// What runs it.
        service: ServiceId,
    },
}

/// A repository name that is neither a base image nor a service's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no repository here: expected library/<name> or <organization id>/<service id>")]
pub struct UnknownRepository(String);

impl FromStr for Repository {
    type Err = UnknownRepository;

    fn from_str(name: &str) -> Result<Self, UnknownRepository> {
        let unknown = || UnknownRepository(name.chars().take(200).collect());
        match name.split_once('/') {
            Some(("library", image)) if is_component(image) => Ok(Self::Library(image.to_owned())),
            Some((organization, service)) => Ok(Self::Service {
                organization: organization.parse().map_err(|_| unknown())?,
                service: service.parse().map_err(|_| unknown())?,
            }),
            None => Err(unknown()),
        }
    }
}

fn is_component(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(image) => write!(f, "library/{image}"),
            Self::Service {
                organization,
                service,
            } => write!(f, "{organization}/{service}"),
        }
    }
}

/// What can be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Remove tags and manifests.
    Delete,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "pull" => Some(Self::Pull),
            "push" => Some(Self::Push),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// On which repository.
    pub repository: Repository,
    /// To do what.
    pub actions: BTreeSet<Action>,
}

impl Scope {
    /// Reads the `scope` parameters of a token request. What is not ours (another repository, the
    /// catalog) is left out: the registry then refuses it, which is what its protocol expects.
    pub fn parse_all<'a>(parameters: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        parameters
            .into_iter()
            .flat_map(|parameter| parameter.split(' '))
            .filter_map(Self::parse)
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
        Some(Self {
            repository: name.parse().ok()?,
            actions: actions.split(',').filter_map(Action::parse).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_scopes_of_docker_and_leaves_out_the_rest() {
        let (organization, service) = (OrganizationId::new(), ServiceId::new());
        let ours = format!("repository:{organization}/{service}:pull,push");
        let scopes = Scope::parse_all([
            "repository:library/python:pull repository:other/thing:pull",
            &ours,
            "registry:catalog:*",
            "repository:library/../x:pull",
            "",
        ]);
        let repositories: Vec<_> = scopes.iter().map(|s| s.repository.to_string()).collect();
        assert_eq!(
            repositories,
            [
                "library/python".to_owned(),
                format!("{organization}/{service}")
            ]
        );
        assert_eq!(
            scopes[1].actions,
            BTreeSet::from([Action::Pull, Action::Push])
        );
    }
}
