//! `/v1/sessions` and `/v1/me`: signing in with a password, and who one is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::{OrganizationId, SessionId};

use crate::{role::Role, user::User};

/// `POST /v1/sessions`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    /// As registered; case doesn't matter.
    #[schema(format = "email", max_length = 254)]
    pub email: String,
    /// In the clear, over TLS.
    #[schema(format = "password", max_length = 1024)]
    pub password: String,
}

/// A sign-in. The token is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// For `Authorization: Bearer …`.
    pub token: String,
    /// Ends by itself then.
    pub expires_at: DateTime<Utc>,
    /// Who signed in.
    pub user: User,
}

/// `GET /v1/me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Who one is.
    pub user: User,
    /// What one is a member of. With an API token: the one organization it is good for.
    pub organizations: Vec<Membership>,
}

/// An organization and one's role in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// The organization.
    pub organization_id: OrganizationId,
    /// Its name.
    pub organization: String,
    /// One's role.
    pub role: Role,
}
