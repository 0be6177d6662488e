//! What an edge asks an agent over mTLS, without the control plane (docs/ARCHITECTURE.md, invariant 9).
//!
//! - `GET /agent/v1/instances/<ins_…>` → [`Confirmation`], or 404 when no container of this instance is here.
//! - `GET /agent/v1/services/<svc_…>/instances` → `Vec<Confirmation>` of ready ones.
//!
//! Both answer 503 before the container engine has told the agent what there is: no answer, so the last one stands.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use domain::id::{InstanceId, ServiceId};

/// "This instance holds that address, now."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The instance.
    pub instance_id: InstanceId,
    /// What it is a copy of.
    pub service_id: ServiceId,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its readiness probe passes.
    pub ready: bool,
}
