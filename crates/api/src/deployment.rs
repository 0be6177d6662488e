//! `/v1/deployments`: one change of what a service runs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::{ArchiveId, DeploymentId, ReleaseId, ServiceId, UserId};

pub use domain::deployment::{Reason as DeploymentReason, machine::Step as DeploymentState};

use crate::release::Commit;

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The deployment.
    pub id: DeploymentId,
    /// What is changed.
    pub service_id: ServiceId,
    /// 1, 2, 3 … per service.
    pub number: i64,
    /// What it takes.
    pub source: DeploymentSource,
    /// Why it was made.
    pub reason: DeploymentReason,
    /// How far it is.
    pub state: DeploymentState,
    /// Since when it is in this state.
    pub state_since: DateTime<Utc>,
    /// Each state it entered, in order.
    pub steps: Vec<DeploymentStep>,
    /// The version it puts in place, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_id: Option<ReleaseId>,
    /// The commit, when the source is git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Why it failed; before its end, what keeps it waiting; when live, what did not end in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeploymentError>,
    /// A cancellation was asked for.
    pub cancel_requested: bool,
    /// Requests that edges carried for the service while it changed, until it was live.
    pub requests: i64,
    /// Those of them that failed through the platform.
    pub failed_requests: i64,
    /// Who made it; absent when the platform did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// Changes with each step.
    pub version: i64,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
}

/// When a state was entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentStep {
    /// The state.
    pub state: DeploymentState,
    /// When.
    pub at: DateTime<Utc>,
}

/// What keeps a deployment from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentError {
    /// Stable, snake_case: `dockerfile_failed`, `startup_probe_failed`, …
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

/// What a deployment takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum DeploymentSource {
    /// The service's git repository.
    Git {
        /// Branch, tag or commit; the specification's branch when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// An uploaded working tree.
    Archive {
        /// The archive.
        archive_id: ArchiveId,
    },
    /// A ready image; the specification's when absent.
    Image {
        /// `registry.example.com/acme/api:1.4`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
    },
    /// A release, with its image, configuration, variables and scale.
    Release {
        /// The release.
        release_id: ReleaseId,
    },
    /// What serves now, with today's variables and specification: the same image; when it was asked for
    /// by a tag, what that stands for now.
    Current,
}

/// `POST /v1/services/{service_id}/deployments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDeployment {
    /// What to take. The specification's source when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DeploymentSource>,
}
