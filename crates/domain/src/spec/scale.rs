//! How many, where, how large.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    name::Name,
    quantity::{Bytes, MilliCpu},
};

/// How many, where, how large.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ScaleSpec {
    /// Replicas per region. Empty: one replica in the platform's first region.
    pub regions: BTreeMap<Name, u32>,
    /// Limits (and reservations) of each replica.
    pub resources: Resources,
}

/// Limits of one replica; the scheduler reserves the same amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// CPU limit.
    pub cpu: MilliCpu,
    /// Memory limit; beyond it the kernel ends the container.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: MilliCpu(250),
            memory: Bytes::mebibytes(256),
            pids: 512,
        }
    }
}
