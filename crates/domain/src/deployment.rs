//! A deployment: one change of what a service runs. Its life is the pure machine in [`machine`];
//! when edges have acknowledged its routes is decided in [`acknowledgement`].

pub mod acknowledgement;
pub mod cause;
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
    /// A ready image, taken over into the service's own repository; what a tag stands for is looked
    /// up anew.
    Image {
        /// As the user wrote it; an [`crate::image::ImageReference`].
        image: String,
    },
    /// The image of a release, with today's variables (`redeploy`).
    Current {
        /// The release.
        release: ReleaseId,
    },
    /// A release as it was, with its variables (`rollback`).
    Release {
        /// The release.
        id: ReleaseId,
    },
}

/// Why a deployment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DeploymentReason))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Something new: `deploy` or `up`.
    Deploy,
    /// The same image with today's variables and specification.
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
