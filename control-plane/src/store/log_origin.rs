//! Whose log lines a node may ship: those of its own instances and builds.

use domain::id::NodeId;
use protocol::log::LogSource;

use super::{
    Error,
    row::Columns as _,
    tx::{Access as _, SystemTx},
};
use crate::logs::Origin;

/// The origin of a source on this node.
pub async fn find(
    tx: &mut SystemTx,
    node: NodeId,
    source: LogSource,
) -> Result<Option<Origin>, Error> {
    let (statement, id) = match source {
        LogSource::Instance(id) => (
            "select t.organization_id, t.service_id, t.deployment_id, r.name as region
             from instance t join region r on r.id = t.region_id
             where t.id = $1 and t.node_id = $2",
            id.uuid(),
        ),
        LogSource::Build(id) => (
            "select t.organization_id, t.service_id, t.deployment_id, r.name as region
             from build t join node n on n.id = t.node_id join region r on r.id = n.region_id
             where t.id = $1 and t.node_id = $2",
            id.uuid(),
        ),
    };
    let row = sqlx::query(statement)
        .bind(id)
        .bind(node.uuid())
        .fetch_optional(tx.executor())
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Origin {
        node,
        organization: row.id("organization_id")?,
        service: row.id("service_id")?,
        deployment: row.id("deployment_id")?,
        region: row.parsed("region")?,
    }))
}
