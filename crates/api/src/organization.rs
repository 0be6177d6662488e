//! `/v1/organizations`: the boundary between tenants.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{id::OrganizationId, name::Name};

/// A company or team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    /// The organization.
    pub id: OrganizationId,
    /// Unique on the platform.
    pub name: Name,
    /// For `If-Match`.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes an organization whose owner is the actor.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    /// Unique on the platform.
    pub name: Name,
}

/// Changes an organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateOrganization {
    /// The new name.
    pub name: Name,
}
