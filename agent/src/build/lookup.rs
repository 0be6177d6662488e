//! Why an image that a build begins with could not be looked up: BuildKit's words as one of four faults,
//! each with a code and what to do about it.

use std::fmt;

/// Said by the control plane's own refusal, which reaches the engine through the build's session.
const REFUSED: &[&str] = &["permissiondenied"];
const UNREACHABLE: &[&str] = &[
    "failed to do request",
    "dial tcp",
    "no such host",
    "i/o timeout",
    "tls handshake",
    "x509:",
];
const PRIVATE: &[&str] = &[
    "insufficient_scope",
    "unauthorized",
    "authorization failed",
    "access denied",
    "forbidden",
];
const MISSING: &[&str] = &["not found", "manifest unknown", "name unknown"];

/// The hub of names without a registry. Where an operator provides base images, it often can't be
/// reached: then the name is simply none of them.
const HUB: &str = "docker.io";

/// Why an image could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    role: Role,
    fault: Fault,
    said: String,
}

/// What the image is to the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It stands after `FROM` in a Dockerfile.
    Base,
    /// The service is made of it; the image, in full.
    Source(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Missing,
    Private,
    Unreachable,
    Refused,
}

impl Error {
    /// Reads the engine's message; `None` when it is about something else.
    pub fn read(role: Role, message: &str) -> Option<Self> {
        let text = message.to_lowercase();
        let says = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
        let fault = if says(REFUSED) {
            Fault::Refused
        } else if says(UNREACHABLE) && text.contains(HUB) {
            Fault::Missing
        } else if says(UNREACHABLE) {
            Fault::Unreachable
        } else if says(PRIVATE) {
            Fault::Private
        } else if says(MISSING) {
            Fault::Missing
        } else {
            return None;
        };
        Some(Self {
            role,
            fault,
            said: plain(message).to_owned(),
        })
    }

    /// Stable, snake_case.
    pub const fn code(&self) -> &'static str {
        match (&self.role, self.fault) {
            (Role::Base, Fault::Missing) => "base_image_not_found",
            (Role::Base, Fault::Private) => "base_image_private",
            (Role::Base, Fault::Unreachable) => "base_image_unreachable",
            (Role::Base, Fault::Refused) => "base_image_refused",
            (Role::Source(_), Fault::Missing) => "image_not_found",
            (Role::Source(_), Fault::Private) => "image_private",
            (Role::Source(_), Fault::Unreachable) => "image_unreachable",
            (Role::Source(_), Fault::Refused) => "image_refused",
        }
    }

    const fn advice(&self) -> &'static str {
        match (&self.role, self.fault) {
            (Role::Base, Fault::Missing) => {
                "Check the name after FROM, and which images the operator provides"
            }
            (Role::Source(_), Fault::Missing) => {
                "Check registry, repository and tag, and which images the operator provides"
            }
            (_, Fault::Private) => {
                "Builds have no credentials for other registries: make it readable for everybody, or push \
                 it to a registry where it is"
            }
            (_, Fault::Unreachable) => {
                "Check the registry's name, and what the operator's firewall lets builds reach"
            }
            (_, Fault::Refused) => {
                "Of the platform's registry builds take base images and images of your own organization"
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Role::Base => f.write_str("the base image")?,
            Role::Source(image) => write!(f, "the image {image}")?,
        }
        f.write_str(match self.fault {
            Fault::Missing => " was not found",
            Fault::Private => " does not exist, or its registry wants credentials",
            Fault::Unreachable => " is in a registry that can't be reached from the build network",
            Fault::Refused => " may not be used",
        })?;
        write!(f, ": {}. {}", self.said, self.advice())
    }
}

impl std::error::Error for Error {}

/// Without BuildKit's account of its own inner parts.
fn plain(message: &str) -> &str {
    const INNER: [&str; 2] = [
        "failed to create LLB definition: ",
        "failed to load cache key: ",
    ];
    INNER
        .iter()
        .find_map(|inner| message.rsplit_once(inner))
        .map_or(message, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_gets_a_code_and_an_advice() {
        let source = || Role::Source("registry.example.com/acme/api:1.4".into());
        for (message, base, own) in [
            (
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: registry.example.com/acme/api:1.4: not found",
                "base_image_not_found",
                "image_not_found",
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                "base_image_private",
                "image_private",
            ),
            (
                "unexpected status code [manifests 1.4]: 401 Unauthorized",
                "base_image_private",
                "image_private",
            ),
            (
                "failed to do request: Head \"https://registry.example.com/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
                "base_image_unreachable",
                "image_unreachable",
            ),
            (
                "failed to do request: Head \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                "base_image_not_found",
                "image_not_found",
            ),
            (
                "failed to authorize: rpc error: code = PermissionDenied desc = org_1/svc_1",
                "base_image_refused",
                "image_refused",
            ),
        ] {
            let code = |role| Error::read(role, message).unwrap().code();
            assert_eq!((code(Role::Base), code(source())), (base, own), "{message}");
        }
        assert_eq!(Error::read(Role::Base, "exit code: 1"), None);
    }

    #[test]
    fn the_message_names_the_image_what_was_said_and_what_to_do() {
        let role = Role::Source("docker.io/acme/api:1.4".into());
        let message = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: docker.io/acme/api:1.4: not found";
        assert_eq!(
            Error::read(role, message).unwrap().to_string(),
            "the image docker.io/acme/api:1.4 was not found: docker.io/acme/api:1.4: not found. Check registry, repository and tag, and which images the operator provides"
        );
    }
}
