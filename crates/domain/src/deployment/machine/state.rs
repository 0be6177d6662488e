//! Where a deployment stands, what it waits for, and for how long.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// Where a deployment stands: `queued → building → releasing → placing → starting → verifying →
/// shifting → draining → live`, or one of the three other ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DeploymentState))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Waits for an older deployment of the service.
    Queued,
    /// The image is being built.
    Building,
    /// The release is made; the release command runs.
    Releasing,
    /// The scheduler looks for nodes.
    Placing,
    /// Instances come up.
    Starting,
    /// All are ready and run the wanted digest.
    Verifying,
    /// Edges take the new routes over.
    Shifting,
    /// It serves; old instances finish what they have begun.
    Draining,
    /// It serves, and nothing older runs. Final.
    Live,
    /// Ended with a reason; what served before serves on. Final.
    Failed,
    /// Ended by a person. Final.
    Canceled,
    /// A newer deployment took its place. Final.
    Superseded,
}

impl Step {
    /// All steps, in order.
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

    /// The word in tables, API and events.
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

    /// Whether nothing can follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Live | Self::Failed | Self::Canceled | Self::Superseded
        )
    }

    /// What it waits for, for people; nothing when final.
    #[must_use]
    pub const fn waits_for(self) -> Option<&'static str> {
        match self {
            Self::Queued => Some("an older deployment of this service"),
            Self::Building => Some("the build"),
            Self::Releasing => Some("the release command"),
            Self::Placing => Some("room on nodes"),
            Self::Starting => Some("instances to start"),
            Self::Verifying => Some("instances to be ready"),
            Self::Shifting => Some("edges to take the new routes over"),
            Self::Draining => Some("old instances to end"),
            Self::Live | Self::Failed | Self::Canceled | Self::Superseded => None,
        }
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(word: &str) -> Result<Self, UnknownStep> {
        Self::ALL
            .into_iter()
            .find(|step| step.as_str() == word)
            .ok_or_else(|| UnknownStep(word.chars().take(40).collect()))
    }
}

/// A word that is no state of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no state of a deployment")]
pub struct UnknownStep(String);

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, snake_case.
    pub code: String,
    /// What was tried, on what, what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its stable code.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// A deployment's place in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The step.
    pub step: Step,
    /// When waiting in this step has lasted long enough; none only when final.
    pub deadline: Option<DateTime<Utc>>,
    /// What keeps it waiting, why it failed, or what was left behind when it became live.
    pub problem: Option<Failure>,
}

/// How long each step may take; from specifications where they have a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The build, with its place in the queue.
    pub build: Span,
    /// The release command.
    pub release: Span,
    /// Placing, and again starting with verifying.
    pub progress: Span,
    /// What old instances have to finish what they have begun.
    pub draining: Span,
}

impl Limits {
    pub(super) const QUEUE: Span = Span::seconds(3_600);
    /// Edges that are not late have this long to take over.
    pub const SHIFT: Span = Span::seconds(15 * 60);
    /// Old instances stay this much longer for late edges.
    pub const LATE_EDGES: Span = Span::seconds(10 * 60);
    /// For telling nodes, ending by force, and reports.
    const DRAIN_MARGIN: Span = Span::seconds(2 * 60);

    pub(super) fn of(self, step: Step) -> Option<Span> {
        match step {
            Step::Queued => Some(Self::QUEUE),
            Step::Building => Some(self.build),
            Step::Releasing => Some(self.release),
            Step::Placing | Step::Starting | Step::Verifying => Some(self.progress),
            Step::Shifting => Some(Self::SHIFT),
            Step::Draining => Some(
                Self::LATE_EDGES
                    .plus(self.draining)
                    .plus(Self::DRAIN_MARGIN),
            ),
            Step::Live | Step::Failed | Step::Canceled | Step::Superseded => None,
        }
    }
}
