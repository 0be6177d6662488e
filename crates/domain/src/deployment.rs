//! A deployment: one change of what a service runs. Its life is the pure machine in [`machine`];
//! when edges have acknowledged its routes is decided in [`acknowledgement`].

pub mod acknowledgement;
pub mod machine;

use serde::{Deserialize, Serialize};

use crate::id::{ArchiveId, DeployKeyId, ReleaseId};

/// What a deployment puts into place, frozen when it is asked for (`deployment.source`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Build from a git repository.
    Git {
        /// As the user wrote it.
        repo: String,
        /// Branch, tag or commit; the default branch when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// The folder that is built.
        root: String,
        /// For ssh repositories.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deploy_key: Option<DeployKeyId>,
    },
    /// Build from an uploaded archive of a working tree (its top is built).
    Archive {
        /// The archive.
        id: ArchiveId,
    },
    /// A ready image by digest (also `redeploy`: the same image with today's variables).
    Image {
        /// `host/repository@sha256:…`
        image: String,
    },
    /// A release as it was, with its variables (`rollback`).
    Release {
        /// The release.
        id: ReleaseId,
    },
}

/// Why a deployment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `deploy` or `up`.
    Deploy,
    /// The same image again.
    Redeploy,
    /// An older release again.
    Rollback,
}

impl Reason {
    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Redeploy => "redeploy",
            Self::Rollback => "rollback",
        }
    }
}
