//! Typed ids. Each is a UUIDv7 shown with a prefix (`svc_0192…`), so that a wrong id is refused
//! when it is parsed, not when a row is not found.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not the id that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not an id of a {kind}: expected {prefix}_ followed by 32 hexadecimal digits"
)]
pub struct InvalidId {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The letters before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; ids made later sort later (UUIDv7).
            #[must_use]
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The bare UUID, as stored in PostgreSQL.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId { text: text.chars().take(64).collect(), kind: $kind, prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A company or team with its own tenants' boundary.
    OrganizationId = "org", "organization";
    /// A person who signs in.
    UserId = "usr", "user";
    /// A sign-in of a person, ended by logging out.
    SessionId = "ses", "session";
    /// A token for programs.
    ApiTokenId = "tok", "API token";
    /// A project.
    ProjectId = "prj", "project";
    /// An environment of a project.
    EnvironmentId = "env", "environment";
    /// A service of an environment.
    ServiceId = "svc", "service";
    /// A variable of a service or environment.
    VariableId = "var", "variable";
    /// An immutable pair of image and configuration.
    ReleaseId = "rel", "release";
    /// One change of what a service runs.
    DeploymentId = "dep", "deployment";
    /// One image build.
    BuildId = "bld", "build";
    /// One running copy of a service.
    InstanceId = "ins", "instance";
    /// A hostname that routes to a service.
    DomainId = "dom", "domain";
    /// A TLS certificate.
    CertificateId = "crt", "certificate";
    /// A region.
    RegionId = "rgn", "region";
    /// A machine (or cluster) that runs an agent, or an edge.
    NodeId = "nod", "node";
    /// A single-use token that lets a node join.
    JoinTokenId = "jnt", "join token";
    /// A request to the scheduler.
    EvaluationId = "evl", "evaluation";
    /// A background job.
    JobId = "job", "job";
    /// A workflow.
    WorkflowId = "wfl", "workflow";
    /// A row of the event stream.
    EventId = "evt", "event";
    /// A row of the audit log.
    AuditEventId = "aud", "audit event";
    /// An uploaded archive of a working tree.
    ArchiveId = "arc", "archive";
    /// An SSH deploy key.
    DeployKeyId = "dky", "deploy key";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_parses_with_its_prefix() {
        let id = ServiceId::new();
        assert_eq!(id.to_string().parse::<ServiceId>().unwrap(), id);
        assert!(id.to_string().starts_with("svc_"));
    }

    #[test]
    fn refuses_another_kind_upper_case_and_rubbish() {
        let id = ServiceId::new().to_string();
        assert!(id.parse::<ProjectId>().is_err());
        assert!(id.to_uppercase().parse::<ServiceId>().is_err());
        for text in [
            "",
            "svc_",
            "svc_x",
            "svc_0192f3c8-0000-7000-8000-000000000000",
        ] {
            assert!(text.parse::<ServiceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let (first, second) = (InstanceId::new(), InstanceId::new());
        assert!(first < second);
    }
}
