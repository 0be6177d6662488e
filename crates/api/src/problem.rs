//! Errors as RFC 9457 problem documents with a stable code, so that programs can act on what went
//! wrong and people can report it by request id.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:railhead:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was tried, on what, and what to do.
    pub detail: String,
    /// Stable, snake_case; one of [`Code`] (a newer server may know more).
    pub code: String,
    /// Names this request in logs, traces and the audit log.
    pub request_id: String,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One fault of a request's body, query or path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The path of the field, such as `spec.deploy.readiness.path`.
    pub field: String,
    /// What is wrong and what would do.
    pub reason: String,
}

impl Problem {
    /// Whether this problem has the code.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.detail, self.code)?;
        for error in &self.errors {
            write!(f, "; {}: {}", error.field, error.reason)?;
        }
        write!(f, "; request {})", self.request_id)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// Every code that the API answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[schema(as = ProblemCode)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As written in [`Problem::code`].
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// The kind of problem, for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }
        }
    };
}

codes! {
    /// No session or token came with the request, or it has ended.
    Unauthenticated = "unauthenticated", 401, "Not signed in";
    /// E-mail address and password don't fit.
    InvalidCredentials = "invalid_credentials", 401, "Wrong e-mail address or password";
    /// The actor may see the thing but not do this to it.
    Forbidden = "forbidden", 403, "Not allowed";
    /// There is no such thing, or it is another organization's.
    NotFound = "not_found", 404, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// The body is no JSON, or ends too early.
    MalformedBody = "malformed_body", 400, "Malformed body";
    /// The query is malformed.
    MalformedQuery = "malformed_query", 400, "Malformed query";
    /// A header is malformed.
    MalformedHeader = "malformed_header", 400, "Malformed header";
    /// The body has another content type than the route takes.
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported media type";
    /// The body has a field that the route doesn't know.
    UnknownField = "unknown_field", 422, "Unknown field";
    /// A field has a value that can't be.
    InvalidField = "invalid_field", 422, "Invalid field";
    /// The body is larger than the route takes.
    BodyTooLarge = "body_too_large", 413, "Body too large";
    /// The name is taken.
    NameTaken = "name_taken", 409, "Name taken";
    /// The platform keeps this name for itself.
    NameReserved = "name_reserved", 422, "Name reserved";
    /// The hostname is not available.
    HostnameUnavailable = "hostname_unavailable", 409, "Hostname not available";
    /// The thing changed since it was read.
    VersionMismatch = "version_mismatch", 412, "Changed since it was read";
    /// An update needs `If-Match`.
    VersionRequired = "version_required", 428, "If-Match required";
    /// A request with this key is still at work.
    IdempotencyKeyInUse = "idempotency_key_in_use", 409, "Request in progress";
    /// This key was used with another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "Idempotency-Key reused";
    /// The thing is in a state that doesn't allow this.
    Conflict = "conflict", 409, "Conflict";
    /// Things that must go first still exist.
    NotEmpty = "not_empty", 409, "Not empty";
    /// An organization keeps at least one owner.
    LastOwner = "last_owner", 409, "Last owner";
    /// No source is configured and none was given.
    SourceMissing = "source_missing", 422, "No source";
    /// A variable refers to something that isn't there.
    ReferenceUnresolved = "reference_unresolved", 422, "Reference doesn't resolve";
    /// Variables refer to each other in a circle.
    ReferenceCircular = "reference_circular", 422, "References go in circles";
    /// No region has this name.
    UnknownRegion = "unknown_region", 422, "Unknown region";
    /// Edge rules refuse ordinary requests one and all, and nobody has said that this is meant.
    BlocksEverything = "blocks_everything", 409, "Blocks everything";
    /// Too many requests.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// Beyond a limit of the installation.
    LimitExceeded = "limit_exceeded", 422, "Limit exceeded";
    /// The platform is busy or a part of it can't be reached.
    Unavailable = "unavailable", 503, "Unavailable";
    /// A fault of the platform.
    Internal = "internal", 500, "Internal error";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_it_is_serialized() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.status()));
        }
    }
}
