//! Why the database did not do what it was asked.

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unique or check constraint refused a row; callers say what that means.
    #[error("the database refused a row by its constraint {constraint}: {source}")]
    Constraint {
        /// The constraint's or unique index's name.
        constraint: String,
        /// The whole message.
        source: sqlx::Error,
    },
    /// It can't be reached, or all connections are busy.
    #[error("the database can't be reached: {0}")]
    Unavailable(sqlx::Error),
    /// It takes no changes: a standby that was not promoted, or a setting.
    #[error("the database takes no changes: {0}")]
    ReadOnly(sqlx::Error),
    /// Two transactions were in each other's way; trying again helps.
    #[error("two transactions were in each other's way: {0}")]
    Contention(sqlx::Error),
    /// A stored value that this version doesn't understand.
    #[error("a stored {what} can't be read: {reason}")]
    Corrupt {
        /// Which kind of value.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program has begun to render this ring's routes in a way that this one does not know.
    #[error(
        "ring {ring} is rendered in version {version}, which this program does not know: leave it to the newer replicas"
    )]
    NewerRendering {
        /// The ring.
        ring: domain::ring::Ring,
        /// Its version.
        version: i32,
    },
    /// Anything else: a fault of ours.
    #[error("a statement failed: {0}")]
    Statement(sqlx::Error),
}

impl Error {
    /// A stored value that this version doesn't understand.
    pub fn corrupt(what: &'static str, reason: impl ToString) -> Self {
        Self::Corrupt {
            what,
            reason: reason.to_string(),
        }
    }

    /// Whether this constraint refused a row.
    #[must_use]
    pub fn is_constraint(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { constraint, .. } if constraint == name)
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::ReadOnly(_)
                | Self::Contention(_)
                | Self::NewerRendering { .. }
        )
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match (database.constraint(), database.code()) {
                (Some(constraint), _) => Self::Constraint {
                    constraint: constraint.to_owned(),
                    source: error,
                },
                (None, Some(code)) => match code.as_ref() {
                    "25006" => Self::ReadOnly(error),
                    // The last: ended by the database, as it kept its locks and stood still.
                    "40001" | "40P01" | "55P03" | "25P03" => Self::Contention(error),
                    code if code.starts_with("08")
                        || code.starts_with("57P")
                        || code == "53300" =>
                    {
                        Self::Unavailable(error)
                    }
                    _ => Self::Statement(error),
                },
                (None, None) => Self::Statement(error),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed => Self::Unavailable(error),
            _ => Self::Statement(error),
        }
    }
}
