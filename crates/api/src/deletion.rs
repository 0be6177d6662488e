//! `/v1/organizations/{organization_id}/deletions`: what has been deleted and is not wholly gone yet.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{id::WorkflowId, name::Name};

/// A project, an environment or a service that is being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// The work.
    pub id: WorkflowId,
    /// The project's, the environment's or the service's id.
    pub subject: String,
    /// What it was called.
    pub name: Name,
    /// How far it is.
    pub step: DeletionStep,
    /// Since when it is at this step.
    pub step_since: DateTime<Utc>,
    /// What the step waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_on: Option<String>,
    /// Why the step has to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was deleted.
    pub created_at: DateTime<Utc>,
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletionStep {
    /// Deployments are called off, instances told to stop.
    StopInstances,
    /// Edges forget its hostnames.
    RemoveRoutes,
    /// Nodes remove containers, networks and images.
    ClearNodes,
    /// The registry and the log store forget it.
    DeleteImages,
    /// Secrets and rows go.
    DeleteRows,
}

impl DeletionStep {
    /// What is being done, for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::StopInstances => "stopping what runs",
            Self::RemoveRoutes => "removing routes",
            Self::ClearNodes => "clearing nodes",
            Self::DeleteImages => "deleting images and logs",
            Self::DeleteRows => "deleting settings and secrets",
        }
    }
}
