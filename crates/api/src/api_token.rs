//! `/v1/api-tokens`: tokens for programs, good for one organization.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{ApiTokenId, OrganizationId},
    name::Name,
};

use crate::role::Role;

/// An API token; its secret is not shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiToken {
    /// The token.
    pub id: ApiTokenId,
    /// What it is good for.
    pub organization_id: OrganizationId,
    /// For people.
    pub name: Name,
    /// At most what its maker may do.
    pub role: Role,
    /// May also run the platform, while its maker may.
    pub platform: bool,
    /// Good until then.
    pub expires_at: DateTime<Utc>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes an API token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiToken {
    /// What it is good for.
    pub organization_id: OrganizationId,
    /// For people.
    pub name: Name,
    /// At most one's own.
    pub role: Role,
    /// May also run the platform; only platform administrators can ask for it.
    #[serde(default)]
    pub platform: bool,
    /// Days until it ends, 1 to 366; 90 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 366)]
    pub expires_in_days: Option<u32>,
}

/// A new API token, shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub api_token: ApiToken,
    /// For `Authorization: Bearer …`.
    pub token: String,
}
