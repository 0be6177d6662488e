//! `/v1/organizations/{organization_id}/users`: who is a member, and in which role.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::UserId;

use crate::role::Role;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The person.
    pub id: UserId,
    /// The address to sign in with.
    pub email: String,
    /// For people.
    pub name: String,
    /// Runs the platform: regions, nodes, join tokens.
    pub is_platform_admin: bool,
}

/// A member of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The person.
    pub id: UserId,
    /// The address to sign in with.
    pub email: String,
    /// For people.
    pub name: String,
    /// In this organization.
    pub role: Role,
    /// For `If-Match`.
    pub version: i64,
    /// When the person became a member.
    pub created_at: DateTime<Utc>,
}

/// Makes a person a member; one who is new to the platform is created.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMember {
    /// The address to sign in with.
    #[schema(format = "email", max_length = 254)]
    pub email: String,
    /// For people; needed for a new person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub name: Option<String>,
    /// For a new person. Without it nobody can sign in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "password", min_length = 12, max_length = 1024)]
    pub password: Option<String>,
    /// In this organization.
    pub role: Role,
}

/// Changes a member's role.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMember {
    /// The new role.
    pub role: Role,
}
