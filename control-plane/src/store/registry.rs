//! What a node's instances and builds need of the registry.

use domain::id::{NodeId, OrganizationId, ServiceId};

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// Whether `node` builds an image of this service now.
pub async fn builds(
    tx: &mut SystemTx,
    node: NodeId,
    organization: OrganizationId,
    service: ServiceId,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar(
        "select exists (select from build
         where node_id = $1 and organization_id = $2 and service_id = $3 and finished_at is null)",
    )
    .bind(node.uuid())
    .bind(organization.uuid())
    .bind(service.uuid())
    .fetch_one(tx.executor())
    .await?;
    Ok(found)
}

/// Whether `node` runs this service, or builds something for its organization (whose images may
/// stand behind `FROM`).
pub async fn needs(
    tx: &mut SystemTx,
    node: NodeId,
    organization: OrganizationId,
    service: ServiceId,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar(
        "select exists (select from instance
           where node_id = $1 and organization_id = $2 and service_id = $3)
         or exists (select from build
           where node_id = $1 and organization_id = $2 and finished_at is null)",
    )
    .bind(node.uuid())
    .bind(organization.uuid())
    .bind(service.uuid())
    .fetch_one(tx.executor())
    .await?;
    Ok(found)
}
