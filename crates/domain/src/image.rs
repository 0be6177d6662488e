//! References to images, as people write them and in the one full form that engines are given.
//! After the grammar of the distribution project: <https://github.com/distribution/reference>.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Registry of references that name none.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A text that is no [`ImageReference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an image reference such as registry.example.com/acme/api:1.4, with lower-case letters before the tag"
)]
pub struct InvalidImageReference;

/// An image in a registry. Whoever holds one may write it after `FROM`: it has no space, no variable
/// and is no option.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// `host` or `host:port`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Without the registry: `library/python`, `acme/api`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What a registry's API knows it by within its repository: the digest, or else the tag.
    #[must_use]
    pub fn reference(&self) -> &str {
        let named = self.digest.as_deref().or(self.tag.as_deref());
        named.unwrap_or(DEFAULT_TAG)
    }

    /// Whether it is one of the images that a registry without a name means: `docker.io/library/…`.
    #[must_use]
    pub fn is_official(&self) -> bool {
        self.registry == DEFAULT_REGISTRY && self.repository.starts_with("library/")
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageReference;

    fn from_str(text: &str) -> Result<Self, InvalidImageReference> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon after the last slash begins the tag; one before it belongs to the registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = split_registry(name);
        let is_official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if is_official {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let well_formed = registry.len() + 1 + repository.len() <= NAME_MAX
            && is_registry(registry)
            && repository.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        well_formed
            .then(|| Self {
                registry: registry.to_owned(),
                repository,
                tag: tag.map(str::to_owned),
                digest: digest.map(str::to_owned),
            })
            .ok_or(InvalidImageReference)
    }
}

/// The first part is a registry when it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or hyphens.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(is_word)
        && bytes.last().copied().is_some_and(is_word)
        && bytes.iter().all(|&b| is_word(b) || b"._-".contains(&b))
        && !["..", "___", "._", "_.", "-.", ".-", "_-", "-_"]
            .iter()
            .any(|joint| text.contains(joint))
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

impl fmt::Display for ImageReference {
    /// The full form: with its registry, and `latest` when it names neither tag nor digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match (&self.tag, &self.digest) {
            (None, None) => f.write_str(":latest"),
            (tag, digest) => {
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                digest
                    .as_ref()
                    .map_or(Ok(()), |digest| write!(f, "@{digest}"))
            }
        }
    }
}

impl TryFrom<String> for ImageReference {
    type Error = InvalidImageReference;

    fn try_from(text: String) -> Result<Self, InvalidImageReference> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_have_one_full_form() {
        for (text, full) in [
            ("python", "docker.io/library/python:latest"),
            ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
            ("library/python:3", "docker.io/library/python:3"),
            ("docker.io/python", "docker.io/library/python:latest"),
            ("index.docker.io/acme/api", "docker.io/acme/api:latest"),
            ("acme/api:1.4", "docker.io/acme/api:1.4"),
            ("localhost/api", "localhost/api:latest"),
            ("10.96.0.1:5000/a/b", "10.96.0.1:5000/a/b:latest"),
            (
                "registry.example.com/acme/api:V1_4",
                "registry.example.com/acme/api:V1_4",
            ),
            (
                "r.example.com:5000/a__b/c-d.e",
                "r.example.com:5000/a__b/c-d.e:latest",
            ),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
        }
        let pinned = format!("acme/api:1.4@{DIGEST}");
        let reference: ImageReference = pinned.parse().unwrap();
        assert_eq!(reference.to_string(), format!("docker.io/{pinned}"));
        assert_eq!(reference.reference(), DIGEST);
    }

    #[test]
    fn what_an_engine_could_take_for_something_else_is_none() {
        for text in [
            "",
            " python",
            "python ",
            "Python",
            "-v",
            "--platform=linux/arm64",
            "$BASE",
            "${BASE}",
            "a b",
            "python:3 AS x",
            "python\nRUN id",
            "python:",
            "python:-x",
            "python@sha256:0",
            "python@md5:0",
            "a//b",
            "/a",
            "a/",
            "r.example.com:port/a",
            "r.example.com:99999/a",
            "https://r.example.com/a",
            "r..example.com/a",
            "-r.example.com/a",
            "a._b",
            "a-",
            "[::1]:5000/a",
        ] {
            assert_eq!(
                text.parse::<ImageReference>(),
                Err(InvalidImageReference),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_full_form_means_the_same(text in "[a-z0-9.:/@_-]{1,60}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let again: ImageReference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again.to_string(), reference.to_string());
                prop_assert_eq!(again.repository(), reference.repository());
            }
        }
    }
}
