//! `/v1/deploy-keys`: SSH keys that builds fetch private repositories with.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{DeployKeyId, ProjectId},
    name::Name,
};

/// An SSH key pair of a project. The private half never leaves the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployKey {
    /// The key.
    pub id: DeployKeyId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// Unique in the project.
    pub name: Name,
    /// In OpenSSH's format, to be added to the git host with read access.
    pub public_key: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes a deploy key (Ed25519).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDeployKey {
    /// Unique in the project.
    pub name: Name,
}
