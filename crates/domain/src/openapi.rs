//! How ids, names and quantities look in an OpenAPI document: strings (or numbers) with a pattern
//! and an example. Compiled only with the feature `openapi`, which the `api` crate asks for.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use crate::{
    id,
    name::{NAME_MAX, Name, VariableName},
    quantity::{Bytes, MilliCpu, Span},
    ring::Ring,
    spec::{PasswordHash, RateLimitKey},
};

macro_rules! text {
    ($type:ty, $name:expr, $description:expr, $pattern:expr, $example:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .description(Some($description))
                    .pattern(Some($pattern))
                    .examples([$example])
                    .into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    };
}

macro_rules! ids {
    ($($type:ident)*) => {$(
        text!(
            id::$type,
            stringify!($type),
            format!("An id: {}_ and 32 hexadecimal digits (UUIDv7).", id::$type::PREFIX),
            format!("^{}_[0-9a-f]{{32}}$", id::$type::PREFIX),
            format!("{}_019234567890700080000000000000aa", id::$type::PREFIX)
        );
    )*};
}

ids! {
    OrganizationId UserId SessionId ApiTokenId ProjectId EnvironmentId ServiceId VariableId ReleaseId
    DeploymentId BuildId InstanceId DomainId CertificateId RegionId NodeId JoinTokenId EvaluationId
    JobId WorkflowId EventId AuditEventId ArchiveId DeployKeyId
}

text!(
    Name,
    "Name",
    format!(
        "Lower-case letters, digits and single hyphens; begins with a letter; at most {NAME_MAX} characters."
    ),
    "^[a-z](-?[a-z0-9])*$",
    "web"
);
text!(
    VariableName,
    "VariableName",
    "Letters, digits and underscores; begins with no digit; at most 128 characters.",
    "^[A-Za-z_][A-Za-z0-9_]*$",
    "DATABASE_URL"
);
text!(
    Bytes,
    "Bytes",
    "An amount of bytes, with or without a unit.",
    "^[0-9]+([KMGT]i?)?$",
    "256Mi"
);
text!(
    Span,
    "Span",
    "A length of time; a bare number means seconds.",
    "^[0-9]+(ms|s|m|h|d|y)?$",
    "30s"
);

text!(
    RateLimitKey,
    "RateLimitKey",
    "What a rate limit counts together: an address (an IPv6 /64), the values of a header, a country, an autonomous system, or all.",
    "^(ip|country|asn|service|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$",
    "ip"
);
text!(
    PasswordHash,
    "PasswordHash",
    "The hash of a long password: sha256, a salt, and the SHA-256 of salt and password, both hexadecimal.",
    "^sha256:([0-9a-f]{2}){8,32}:[0-9a-f]{64}$",
    "sha256:00112233445566778899aabbccddeeff:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
);

impl PartialSchema for Ring {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some(
                "The edges that get a platform-made change together, first canary, then region, then all.",
            ))
            .enum_values(Some(Ring::ORDER.map(Ring::as_str)))
            .into()
    }
}

impl ToSchema for Ring {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Ring")
    }
}

impl PartialSchema for MilliCpu {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Number))
            .description(Some("CPU cores."))
            .examples([0.5])
            .into()
    }
}

impl ToSchema for MilliCpu {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("MilliCpu")
    }
}
