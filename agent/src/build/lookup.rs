//! Why an image that a build begins with could not be looked up: BuildKit's words, and what the platform's
//! registry says itself, as one of five faults, each with a code and what to do about it.

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
    "unexpected eof",
    "connection reset",
    "broken pipe",
    "code = unavailable",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
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
/// reached: then the name, which the platform's registry does not have, is simply none of them.
const HUB: &str = "docker.io";

/// What the platform's registry itself says of an image that an engine could not look up. An engine that gets no
/// answer from it asks the hub instead, and tells only what came of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is not asked for this image, or not for this organization.
    Elsewhere,
    /// It has the image: by now it answers.
    Has,
    /// It answers that it does not.
    Lacks,
    /// It does not answer; why.
    Away(String),
}

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
    Away,
}

impl Fault {
    /// From the engine's message; `None` when it is about something else.
    fn read(message: &str) -> Option<Self> {
        let text = message.to_lowercase();
        let says = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
        if says(REFUSED) {
            Some(Self::Refused)
        } else if says(UNREACHABLE) && text.contains(HUB) {
            Some(Self::Missing)
        } else if says(UNREACHABLE) {
            Some(Self::Unreachable)
        } else if says(PRIVATE) {
            Some(Self::Private)
        } else if says(MISSING) {
            Some(Self::Missing)
        } else {
            None
        }
    }
}

impl Error {
    /// Reads the engine's message; `None` when it is about something else.
    pub fn read(role: Role, message: &str, standing: &Standing) -> Option<Self> {
        let said = plain(message);
        let (fault, said) = match (Fault::read(message)?, standing) {
            (Fault::Refused, _) => (Fault::Refused, said),
            (_, Standing::Away(why)) => (Fault::Away, why.as_str()),
            (_, Standing::Has) => (Fault::Away, said),
            (_, Standing::Lacks) => (Fault::Missing, said),
            (fault, Standing::Elsewhere) => (fault, said),
        };
        Some(Self {
            role,
            fault,
            said: said.to_owned(),
        })
    }

    /// Whether it may succeed later without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        self.fault == Fault::Away
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
            (_, Fault::Away) => "registry_unavailable",
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
            (_, Fault::Away) => {
                "This is the platform's own failure: deploy again, and tell the operator if it stays"
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
            Fault::Away => " could not be asked for, because the platform's registry was away",
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
            let code = |role| read(role, message, &Standing::Elsewhere).code();
            assert_eq!((code(Role::Base), code(source())), (base, own), "{message}");
        }
        let other = Error::read(Role::Base, "exit code: 1", &Standing::Has);
        assert_eq!(other, None);
    }

    fn read(role: Role, message: &str, standing: &Standing) -> Error {
        Error::read(role, message, standing).unwrap()
    }

    #[test]
    fn an_image_is_missing_only_when_the_platform_s_registry_says_so() {
        let hub = "failed to do request: Head \"https://registry-1.docker.io/v2/library/python\": dial tcp: no such host";
        let refused = "failed to authorize: rpc error: code = PermissionDenied desc = org_1/svc_1";
        let away = Standing::Away("connection refused".into());
        for (message, standing, code, is_passing) in [
            (hub, &away, "registry_unavailable", true),
            (hub, &Standing::Has, "registry_unavailable", true),
            (hub, &Standing::Lacks, "base_image_not_found", false),
            ("python:3: not found", &away, "registry_unavailable", true),
            (
                "unexpected EOF",
                &Standing::Has,
                "registry_unavailable",
                true,
            ),
            (refused, &Standing::Has, "base_image_refused", false),
        ] {
            let error = read(Role::Base, message, standing);
            assert_eq!(
                (error.code(), error.is_passing()),
                (code, is_passing),
                "{message} {standing:?}"
            );
        }
        let text = read(Role::Base, hub, &away).to_string();
        assert!(text.contains("connection refused"), "{text}");
        assert!(text.contains("the platform's own failure"), "{text}");
    }

    #[test]
    fn the_message_names_the_image_what_was_said_and_what_to_do() {
        let role = Role::Source("docker.io/acme/api:1.4".into());
        let message = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: docker.io/acme/api:1.4: not found";
        assert_eq!(
            read(role, message, &Standing::Elsewhere).to_string(),
            "the image docker.io/acme/api:1.4 was not found: docker.io/acme/api:1.4: not found. Check registry, repository and tag, and which images the operator provides"
        );
    }
}
