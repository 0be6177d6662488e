//! `/v1/projects`: a group of environments that hold the same services.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{OrganizationId, ProjectId},
    name::Name,
};

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// The project.
    pub id: ProjectId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Unique in the organization.
    pub name: Name,
    /// For `If-Match`.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes a project. It begins with an environment called `production`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// Unique in the organization.
    pub name: Name,
}

/// Changes a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    /// The new name. Default hostnames that exist keep the old one.
    pub name: Name,
}
