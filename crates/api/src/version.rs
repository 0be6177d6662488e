//! `/v1/version`: what answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the control plane.
    pub version: String,
    /// The node protocol it speaks.
    pub protocol: u32,
    /// Default hostnames end in it.
    pub platform_domain: String,
}
