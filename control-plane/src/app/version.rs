//! Optimistic updates: what a client must know of a thing to change it.

use api::problem::Code;

use super::Error;

/// The version that a client says it has read (`If-Match`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// This one.
    Version(i64),
    /// Whichever it is (`*`).
    Any,
}

impl Expected {
    /// For a statement's `($n is null or version = $n)`.
    #[must_use]
    pub const fn version(self) -> Option<i64> {
        match self {
            Self::Version(version) => Some(version),
            Self::Any => None,
        }
    }
}

/// Somebody else was faster.
pub fn mismatch(kind: &str) -> Error {
    Error::refused(
        Code::VersionMismatch,
        format!("the {kind} changed since it was read; read it again and repeat the change"),
    )
}
