//! `/v1/domains`: hostnames that lead to a service.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::{DomainId, ServiceId};

/// A hostname of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// The domain.
    pub id: DomainId,
    /// Where its requests go.
    pub service_id: ServiceId,
    /// Lower case; `*.` in front for a wildcard.
    pub hostname: String,
    /// Who chose it.
    pub kind: DomainKind,
    /// Since when its DNS is known to lead here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<DateTime<Utc>>,
    /// Why it isn't verified, or has no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// Who chose a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainKind {
    /// Under the platform's domain, given with the service.
    Default,
    /// The tenant's own.
    Custom,
}

/// Adds a hostname to a service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDomain {
    /// `www.example.com`, or `*.example.com`.
    #[schema(max_length = 253)]
    pub hostname: String,
}
