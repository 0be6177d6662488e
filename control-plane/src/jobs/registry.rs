//! Removes what a deleted service leaves outside the database: its images and its log lines.

use anyhow::Context as _;
use domain::id::{OrganizationId, ServiceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    State,
    registry::{Issuer, Registry},
};

/// The kind of job.
pub const DELETE_IMAGES: &str = "delete_images";

/// What a `delete_images` job is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteImages {
    pub organization_id: OrganizationId,
    pub service_id: ServiceId,
}

/// Done twice it does nothing more.
pub(super) async fn delete_images(state: &State, payload: &Value) -> anyhow::Result<()> {
    let job = DeleteImages::deserialize(payload).context("the job's payload can't be read")?;
    state
        .logs
        .forget(job.organization_id, job.service_id)
        .await?;
    let authority = &state.keys.authority;
    let registry = Registry::new(&state.config.registry.host, authority.pem())?;
    let issuer = Issuer::new(&state.keys.registry)?;
    Ok(registry
        .delete_images(&issuer, job.organization_id, job.service_id)
        .await?)
}
