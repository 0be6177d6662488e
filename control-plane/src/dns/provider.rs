//! What the platform asks of whoever serves its zone. Two can: any server that takes dynamic updates
//! (RFC 2136), and Amazon Route 53.

use async_trait::async_trait;

use super::{plan::Change, record::RecordSet};

/// Why a provider did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer, or none in time.
    #[error("{provider} does not answer when asked to {action}: {reason}")]
    Unavailable {
        /// Who was asked.
        provider: String,
        /// For what.
        action: &'static str,
        /// What happened.
        reason: String,
    },
    /// It says no: the key, its rights, or what was asked for.
    #[error("{provider} refuses to {action}: {reason}")]
    Refused {
        /// Who was asked.
        provider: String,
        /// For what.
        action: &'static str,
        /// What it says.
        reason: String,
    },
    /// It was asked too often.
    #[error("{provider} wants to be asked less often (asked to {action})")]
    Throttled {
        /// Who was asked.
        provider: String,
        /// For what.
        action: &'static str,
    },
    /// The zone was changed by somebody else meanwhile: nothing of this name was done.
    #[error("{provider} did not change the zone, as it is no longer as it was read: {reason}")]
    Changed {
        /// Who was asked.
        provider: String,
        /// What it says.
        reason: String,
    },
    /// More than is sent or read at once.
    #[error("{0}")]
    Limit(String),
}

/// Serves one zone.
#[async_trait]
pub trait Provider: Send + Sync {
    /// All sets of records at and below the platform's domain of the kinds of [`super::record::Kind`], whoever
    /// made them: the marks among them say which are ours.
    async fn list(&self) -> Result<Vec<RecordSet>, Error>;

    /// Makes changes: those of one name all or none, and never of a name that has lost our mark since it was
    /// read or, where something is created, has got what is not ours.
    async fn change(&self, changes: &[Change]) -> Result<(), Error>;

    /// Adds a value to the TXT records of any name of the zone, as DNS-01 challenges need it. What else is there stays.
    async fn put_text(&self, name: &str, value: &str) -> Result<(), Error>;

    /// Takes the value away; nothing happens when it is not there.
    async fn remove_text(&self, name: &str, value: &str) -> Result<(), Error>;
}
