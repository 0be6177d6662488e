//! `/v1/regions`: where things can run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{id::RegionId, name::Name};

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Region {
    /// The region.
    pub id: RegionId,
    /// Unique on the platform, such as `eu-west`.
    pub name: Name,
    /// New instances may be placed here.
    pub enabled: bool,
    /// For `If-Match`.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes a region.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRegion {
    /// Unique on the platform.
    pub name: Name,
}

/// Changes a region.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRegion {
    /// New instances may be placed here.
    pub enabled: bool,
}
