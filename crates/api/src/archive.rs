//! `/v1/services/{service_id}/archives`: an uploaded working tree, to be built by a deployment.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::{ArchiveId, ServiceId};

/// A `.tar.gz` that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Archive {
    /// The archive.
    pub id: ArchiveId,
    /// The service it was uploaded for.
    pub service_id: ServiceId,
    /// Of its bytes, hexadecimal.
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was uploaded.
    pub created_at: DateTime<Utc>,
}
