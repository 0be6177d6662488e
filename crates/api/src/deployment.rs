//! `/v1/deployments`: one change of what a service runs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::{ArchiveId, DeploymentId, ReleaseId, ServiceId, UserId};

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
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeploymentError>,
    /// A cancellation was asked for.
    pub cancel_requested: bool,
    /// Requests that edges carried for the service while it changed.
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

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentError {
    /// Stable, snake_case: `dockerfile_failed`, `startup_probe_failed`, …
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

/// How far a deployment is: `queued → building → releasing → placing → starting → verifying →
/// shifting → draining → live`, or one of the three other ends.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Waits for the deployment before it.
    Queued,
    /// The image is being built.
    Building,
    /// The release command runs.
    Releasing,
    /// The scheduler looks for places.
    Placing,
    /// New instances start.
    Starting,
    /// New instances are checked.
    Verifying,
    /// Edges take the new routes.
    Shifting,
    /// Old instances finish what they have begun.
    Draining,
    /// It serves. An end.
    Live,
    /// It failed; what served before serves on. An end.
    Failed,
    /// It was canceled. An end.
    Canceled,
    /// A newer one took its place. An end.
    Superseded,
}

impl DeploymentState {
    /// All states, in order.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Building,
        Self::Releasing,
        Self::Placing,
        Self::Starting,
        Self::Verifying,
        Self::Shifting,
        Self::Draining,
        Self::Live,
        Self::Failed,
        Self::Canceled,
        Self::Superseded,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Releasing => "releasing",
            Self::Placing => "placing",
            Self::Starting => "starting",
            Self::Verifying => "verifying",
            Self::Shifting => "shifting",
            Self::Draining => "draining",
            Self::Live => "live",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::Live | Self::Failed | Self::Canceled | Self::Superseded
        )
    }
}

/// A text that is no deployment state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no state of a deployment")]
pub struct UnknownDeploymentState(String);

impl std::str::FromStr for DeploymentState {
    type Err = UnknownDeploymentState;

    fn from_str(text: &str) -> Result<Self, UnknownDeploymentState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownDeploymentState(text.chars().take(40).collect()))
    }
}

/// Why a deployment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentReason {
    /// Something new.
    Deploy,
    /// The same image with today's variables and specification.
    Redeploy,
    /// An older release.
    Rollback,
    /// Another number of replicas.
    Scale,
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
    /// The image that serves now, with today's variables and specification.
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
