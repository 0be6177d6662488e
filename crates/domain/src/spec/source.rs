//! Where an image comes from and how it is built.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{name::VariableName, quantity::Span};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a source: { repo = … } or { image = … }"
)]
pub enum Source {
    /// A git repository.
    Git(GitSource),
    /// A ready image.
    Image(ImageSource),
}

/// A git repository and what to take from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// `https://…`, `ssh://…` or `git@host:path`; `file://…` only below the operator's `build.file_roots`.
    pub repo: String,
    /// The branch or tag to follow; the repository's default branch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The folder that is built, from the repository's top.
    #[serde(default = "root_folder")]
    pub root: String,
}

/// A ready image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// `registry.example.com/acme/api:1.4`; what a tag stands for is looked up by each deployment.
    pub image: String,
}

fn root_folder() -> String {
    "/".to_owned()
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BuildSpec {
    /// The Dockerfile, from the source's root.
    pub dockerfile_path: String,
    /// Build arguments; they are visible in the image's history.
    pub args: BTreeMap<String, String>,
    /// Variables that are mounted at `/run/secrets/<name>` for `RUN --mount=type=secret` and reach no layer.
    pub secrets: Vec<VariableName>,
    /// Time cap of the whole build.
    pub timeout: Span,
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            dockerfile_path: "Dockerfile".to_owned(),
            args: BTreeMap::new(),
            secrets: Vec::new(),
            timeout: Span::seconds(1_800),
        }
    }
}

/// Whether a repository's address is one that the build sandbox may be asked to fetch.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_repo(repo: &str) -> Result<(), &'static str> {
    const SCHEMES: [&str; 3] = ["https://", "ssh://", "file://"];
    if repo.len() > 2048
        || repo.chars().any(|c| c.is_control() || c.is_whitespace())
        || repo.starts_with('-')
    {
        return Err("must be a repository's address without spaces, at most 2048 characters");
    }
    let rest = SCHEMES.iter().find_map(|scheme| repo.strip_prefix(scheme));
    let scp_like = || {
        repo.split_once(':').is_some_and(|(host, path)| {
            host.contains('@') && !host.contains('/') && !path.is_empty()
        })
    };
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with('-') => Err("names no host or path"),
        Some(_) => Ok(()),
        None if scp_like() => Ok(()),
        None => Err("must begin with https:// or ssh://, or look like git@host:path"),
    }
}

/// Whether `text` can be a branch, tag or commit for git (`git-check-ref-format`), and no option.
#[must_use]
pub fn is_git_ref(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !text.ends_with(".lock")
        && !["..", "@{", "//", "/."]
            .iter()
            .any(|bad| text.contains(bad))
        && !text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
}

pub(super) fn is_inner_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1024
        && !path.contains(['\0', '\\'])
        && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_that_git_could_take_for_something_else() {
        for repo in [
            "-x",
            "ext::sh -c id",
            "http://a/b",
            "/etc",
            "https://",
            "file://",
            "a b",
            "https://a\nb",
            "ssh://-oProxyCommand=id/x",
        ] {
            assert!(check_repo(repo).is_err(), "{repo}");
        }
        for repo in [
            "https://git.example.com/a/b.git",
            "ssh://git@host:2222/a.git",
            "git@host:a/b.git",
            "file:///srv/a.git",
        ] {
            assert_eq!(check_repo(repo), Ok(()), "{repo}");
        }
    }
}
