//! Why something that was asked for is not done, in terms of the API's problem codes.

use api::problem::{Code, FieldError};
use domain::id::OrganizationId;

use crate::{identity, slots::Full, store};

/// Why something that was asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is signed in.
    #[error("{0}")]
    Unauthenticated(String),
    /// Password and address don't fit; nobody learns which of the two is wrong.
    #[error("no user has this e-mail address and password")]
    InvalidCredentials {
        /// Where to write it down, when the person exists.
        organization: Option<OrganizationId>,
    },
    /// The actor sees the thing but may not do this to it.
    #[error(
        "{action} needs another role here; an administrator of the organization can change yours"
    )]
    Forbidden {
        /// What was tried.
        action: &'static str,
        /// Whose it is.
        organization: Option<OrganizationId>,
    },
    /// There is no such thing, or it is another organization's.
    #[error("there is no {kind} {id}, or you are not a member of its organization")]
    NotFound {
        /// Which kind of thing.
        kind: &'static str,
        /// The id or name that was given.
        id: String,
        /// It exists, elsewhere.
        foreign: bool,
    },
    /// The request can't be done as it is.
    #[error("{detail}")]
    Refused {
        /// The stable code.
        code: Code,
        /// What was tried, on what, and what to do.
        detail: String,
        /// Faults of single fields.
        errors: Vec<FieldError>,
    },
    /// The platform is busy.
    #[error("{0}")]
    Busy(String),
    /// A part of the platform can't be reached.
    #[error("{0}")]
    Unavailable(String),
    /// The database did not do what it was asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A refusal without faults of single fields.
    pub fn refused(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused {
            code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// A fault of one field.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        Self::Refused {
            code: Code::InvalidField,
            detail: format!("{field}: {reason}"),
            errors: vec![FieldError { field, reason }],
        }
    }

    /// Something that isn't there, among what the actor may see.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
            foreign: false,
        }
    }

    /// The code that the API answers with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::InvalidCredentials { .. } => Code::InvalidCredentials,
            Self::Forbidden { .. } => Code::Forbidden,
            Self::NotFound { .. } => Code::NotFound,
            Self::Refused { code, .. } => *code,
            Self::Busy(_) => Code::RateLimited,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Store(error) if error.is_retryable() => Code::Unavailable,
            Self::Store(_) | Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<identity::Error> for Error {
    fn from(error: identity::Error) -> Self {
        match error {
            identity::Error::Invalid => Self::Unauthenticated(error.to_string()),
            identity::Error::Store(error) => Self::Store(error),
        }
    }
}

impl From<crate::secrets::Error> for Error {
    fn from(error: crate::secrets::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Self::Busy(full.to_string())
    }
}

impl From<identity::password::Error> for Error {
    fn from(error: identity::password::Error) -> Self {
        match error {
            identity::password::Error::Busy => Self::Busy(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Says what a constraint's refusal means for the user.
pub trait OnConstraint<T> {
    /// When this constraint refused a row, the error is `refusal`.
    ///
    /// # Errors
    /// The refusal, or the store's error.
    fn on_constraint(self, name: &str, refusal: impl FnOnce() -> Error) -> Result<T, Error>;
}

impl<T, E: Into<Error>> OnConstraint<T> for Result<T, E> {
    fn on_constraint(self, name: &str, refusal: impl FnOnce() -> Error) -> Result<T, Error> {
        self.map_err(|error| match error.into() {
            Error::Store(error) if error.is_constraint(name) => refusal(),
            other => other,
        })
    }
}
